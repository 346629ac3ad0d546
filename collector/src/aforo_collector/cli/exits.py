"""How commands end: exit codes, and one way from a click command to a number.

0 ok · 1 failed · 2 usage · 3 not found · 4 conflict · 5 unavailable
"""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import Final

import click
from aforo_sdk.cli import CONFLICT, FAILED, NOT_FOUND, OK, UNAVAILABLE, USAGE

__all__ = ["CONFLICT", "FAILED", "NOT_FOUND", "OK", "UNAVAILABLE", "USAGE", "Failure", "run"]

_INTERRUPTED: Final = 130


class Failure(Exception):
    """A command that cannot do what was asked; `code` is how it exits."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def run(command: click.Command, name: str, argv: list[str]) -> int:
    """Run a command with its arguments; errors become one line on stderr and an exit code.

    What it prints is UTF-8 wherever it goes: names are of any script, and data must not depend on a locale.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    try:
        result = command.main(argv, prog_name=f"aforo {name}", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return USAGE
    except click.Abort:
        return _INTERRUPTED
    except Failure as failure:
        print(f"aforo {name}: {failure}", file=sys.stderr)
        return failure.code
    return result if isinstance(result, int) else OK
