"""The command `aforo`: a dispatcher over the entry points of the group `aforo.commands`.

Each distribution adds its own commands. An entry point is a callable that takes the arguments after its name
and returns the exit code; the first line of its docstring is its line in the help. Only the command that runs
is loaded.
"""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Final

GROUP: Final = "aforo.commands"
OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
CONFLICT: Final = 4
UNAVAILABLE: Final = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `aforo COMMAND …` and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands = {command.name: command for command in entry_points(group=GROUP)}
    if not words or words[0] in ("-h", "--help"):
        print(_help(commands))
        return OK
    command = commands.get(words[0])
    if command is None:
        known = ", ".join(sorted(commands))
        print(f"aforo: there is no command {words[0]!r}. Commands: {known}.", file=sys.stderr)
        return USAGE
    try:
        return int(command.load()(words[1:]) or OK)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`aforo … | head`): nothing may be flushed to it at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _help(commands: dict[str, EntryPoint]) -> str:
    width = max((len(name) for name in commands), default=0)
    lines = [f"  {name:<{width}}  {_summary(commands[name])}".rstrip() for name in sorted(commands)]
    return "\n".join(
        [
            "usage: aforo COMMAND …",
            "",
            "Meters AI agents, from the call to the invoice line.",
            "",
            *lines,
            "",
            "`aforo COMMAND --help` explains one.",
        ]
    )


def _summary(command: EntryPoint) -> str:
    try:
        text = command.load().__doc__ or ""
    except Exception as error:
        return f"(cannot be loaded: {error})"
    return text.strip().partition("\n")[0].rstrip(".")
