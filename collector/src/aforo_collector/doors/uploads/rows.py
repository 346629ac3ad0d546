"""What a file is read into: stretches of rows, each row an event or the reason why it is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from aforo_collector.domain.submission import RawEvent, Refusal

ROW_BYTES_MAX: Final = 65_536
"""The longest row, with its end of line: twice the most that metadata may be. More at once is read no faster."""


class UnreadableFile(ValueError):
    """A file of which nothing can be read; `code` is stable, the text says why. Nothing was recorded."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Place(NamedTuple):
    """A place between two rows: bytes of the unpacked file before it, and the number of the line after it."""

    offset: int = 0
    line: int = 1


@dataclass(frozen=True, slots=True)
class Rows:
    """A stretch of a file, from one place to another, and its rows in order.

    `lines` are the numbers of the lines on which they begin, `heights` how many lines each has. `data` are
    the bytes of the stretch; of a row that is too long, which is one for itself, only the beginning (`is_cut`).
    """

    events: Sequence[RawEvent | Refusal]
    lines: Sequence[int]
    heights: Sequence[int]
    data: bytes
    before: Place
    after: Place
    is_cut: bool = False

    def raws(self) -> list[bytes]:
        """The bytes of every row as they stand in the file, without the line feed at the end."""
        lines = self.data.split(b"\n")
        first = self.before.line
        return [
            b"\n".join(lines[line - first : line - first + height])
            for line, height in zip(self.lines, self.heights, strict=False)
        ]


@dataclass(frozen=True, slots=True)
class Layout:
    """How the one who uploads reads a file: what its columns or fields mean, and what rows leave out.

    `renamed` has, by the name in the file, the name on the wire. A row that has no key gets `origin` and its
    line for one.
    """

    origin: str
    renamed: dict[str, str]
    metric: str = ""
    customer: str = ""

    def key(self, line: int) -> str:
        """The idempotency key of the row on a line: the same file is the same events for ever.

        Keys of one length are in the order of their lines, which costs an index the least.
        """
        return f"{self.origin}:{line:012}"
