"""`python -m aforo_collector COMMAND …`: the command `aforo`, for where it is not on the PATH."""

from __future__ import annotations

import sys

from aforo_sdk.cli import main

if __name__ == "__main__":
    sys.exit(main())
