"""CSV as RFC 4180 has it, in stretches: quoted cells may hold line feeds, a malformed row costs itself alone.

A row ends with a line feed outside of quotes, before it perhaps a carriage return. A row whose quotes are
wrong, or which does not end within `ROW_BYTES_MAX` bytes and `ROW_LINES_MAX` lines, is refused as far as
its first line, and reading goes on behind that: a quote too many does not swallow what follows. (Where a later
quote closes it, the lines between are one row by the rules; having the wrong number of cells, it is refused
and shown as a whole.) Where rows begin and end depends on the file alone, not on how it came.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, TypeAlias

from aforo_collector.domain.submission import RawEvent, Refusal

from .columns import Columns
from .rows import ROW_BYTES_MAX, Layout, Place, Rows, UnreadableFile
from .window import Window

ROW_LINES_MAX: Final = 128

Record: TypeAlias = list[str] | Refusal
"""The cells of a row; [] for a blank line."""


def read_header(window: Window, layout: Layout) -> Columns:
    """The columns that the first row names; the window goes on behind it. Raises `UnreadableFile`."""
    while True:
        data, last = window.look()
        if not data:
            why = "is empty" if last else f"begins with a line of more than {ROW_BYTES_MAX} bytes"
            raise UnreadableFile("UNREADABLE_HEADER", f"the file {why}; the first line names the columns")
        record, height = next(_carefully(data, last))
        if isinstance(record, Refusal):
            raise UnreadableFile("UNREADABLE_HEADER", f"the first line cannot be read: {record.detail}")
        window.take(_size(data, height), height)
        if record:
            return Columns(record, layout)


def read_csv(window: Window, columns: Columns) -> Iterator[Rows]:
    """The rows of a file from the window's place on, one stretch at a time."""
    while True:
        data, last = window.look()
        before = window.place
        if data:
            records, heights = _plain(data) or _careful(data, last)
            data = data[: _size(data, sum(heights))] if sum(heights) < data.count(b"\n") else data
            window.take(len(data), data.count(b"\n"))
            yield _rows(records, heights, columns, data, before, window.place)
        elif last:
            return
        else:
            data, size = window.take_line()
            refusal = Refusal("ROW_TOO_LONG", f"the row has {size} bytes; {ROW_BYTES_MAX} are allowed")
            yield Rows([refusal], [before.line], [1], data, before, window.place, is_cut=True)


def _plain(data: bytes) -> tuple[list[Record], Sequence[int]] | None:
    """The records of a stretch in which each is well-formed and has one line; None for any other."""
    try:
        reader = csv.reader(io.StringIO(data.decode(), newline="\n"), strict=True)
        records: list[Record] = list(reader)
    except (UnicodeDecodeError, csv.Error):
        return None
    return (records, [1] * len(records)) if reader.line_num == len(records) else None


def _careful(data: bytes, last: bool) -> tuple[list[Record], Sequence[int]]:
    records, heights = zip(*_carefully(data, last), strict=True)
    return list(records), heights


def _carefully(data: bytes, last: bool) -> Iterator[tuple[Record, int]]:
    """Record by record, with its number of lines; not the last one if it goes on behind the stretch."""
    is_text = _is_text(data)
    lines = io.StringIO(data.decode(errors="surrogateescape"), newline="\n").readlines()
    start = fed = 0

    def feed() -> Iterator[str]:
        nonlocal fed
        while fed < min(len(lines), start + ROW_LINES_MAX):
            fed += 1
            yield lines[fed - 1]

    while start < len(lines):
        fed = start
        try:
            for cells in csv.reader(feed(), strict=True):
                yield (cells if is_text or _encodable(cells) else _NO_TEXT), fed - start
                start = fed
        except csv.Error as error:
            if fed == len(lines) and start and not last:
                return
            why = "a quote is opened and not closed" if "end of data" in str(error) else error
            yield Refusal("MALFORMED_ROW", f"the row is no CSV: {why}"), 1
            start += 1


_NO_TEXT: Final = Refusal("INVALID_ENCODING", "the row is not UTF-8; convert the file and send it again")


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _encodable(cells: Sequence[str]) -> bool:
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return False
    return True


def _size(data: bytes, lines: int) -> int:
    """How many bytes the first lines have."""
    end = 0
    for _ in range(lines):
        end = data.find(b"\n", end) + 1
        if not end:
            return len(data)
    return end


def _rows(
    records: list[Record], heights: Sequence[int], columns: Columns, data: bytes, before: Place, after: Place
) -> Rows:
    lines: Sequence[int] = range(before.line, before.line + len(records))
    if len(records) < sum(heights):
        lines = list(accumulate(heights, initial=before.line))[:-1]
    width = columns.width
    if set(map(type, records)) == {list} and set(map(len, records)) == {width}:
        return Rows(columns.events(records, lines), lines, heights, data, before, after)
    good = [
        (record, line)
        for record, line in zip(records, lines, strict=True)
        if len(record) == width and not isinstance(record, Refusal)
    ]
    events = iter(columns.events([record for record, _ in good], [line for _, line in good]))
    found = [
        (_event(record, width, events), line, height)
        for record, line, height in zip(records, lines, heights, strict=True)
        if record
    ]
    return Rows([f[0] for f in found], [f[1] for f in found], [f[2] for f in found], data, before, after)


def _event(record: Record, width: int, events: Iterator[RawEvent | Refusal]) -> RawEvent | Refusal:
    if isinstance(record, Refusal):
        return record
    if len(record) == width:
        return next(events)
    return Refusal("COLUMN_COUNT", f"the row has {len(record)} cells and the header {width}")
