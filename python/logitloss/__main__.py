"""Run the command line with ``python -m logitloss``."""

import sys

from logitloss.command_line import main

if __name__ == "__main__":
    sys.exit(main())
