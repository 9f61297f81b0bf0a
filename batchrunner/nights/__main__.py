"""`python -m batchrunner.nights --seeds 0:1000`."""

import sys

from batchrunner.nights.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
