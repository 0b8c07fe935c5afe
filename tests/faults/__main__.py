"""`python -m tests.faults`, which `make faults` calls."""

import sys

from tests.faults.driver import main

if __name__ == "__main__":
    sys.exit(main())
