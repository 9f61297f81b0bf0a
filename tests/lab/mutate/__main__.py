"""`python -m tests.lab.mutate --sample 300 --seed 1`."""

import sys

from tests.lab.mutate.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
