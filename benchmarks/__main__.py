"""``make bench``: every ratio that benchmarks/README.md states, measured in one run, interleaved."""

import sys

from benchmarks import hdf5_image, road
from benchmarks.measure import conditions

if __name__ == "__main__":
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(conditions())
    for module in (road, hdf5_image):
        print()
        print((module.__doc__ or "").splitlines()[0])
        for line in module.run(rounds):
            print(f"  {line}")
