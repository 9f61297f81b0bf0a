"""`python -m tests.lab.nights --seeds 0:1000`."""

import sys

from tests.lab.nights.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
