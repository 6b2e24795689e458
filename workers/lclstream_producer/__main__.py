"""``python -m lclstream_producer``."""

import sys

from lclstream_producer.main import main

if __name__ == "__main__":
    sys.exit(main())
