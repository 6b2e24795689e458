"""``python -m lclstream_buffer``: the same as ``python -m lclstream buffer``."""

import sys

from lclstream_buffer.main import main

sys.exit(main())
