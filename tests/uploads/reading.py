"""Reading bytes as an upload does, in pieces and windows of any size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from aforo_collector.doors.uploads import csv_rows, ndjson, window
from aforo_collector.doors.uploads.reading import read
from aforo_collector.doors.uploads.rows import Layout, Place, Rows

ORIGIN = "upload:abab"
LAYOUT = Layout(ORIGIN, {})


class Row(NamedTuple):
    """A row as a test compares it: its line, its event or refusal, its bytes."""

    line: int
    event: Any
    raw: bytes


def pieces(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """The data in pieces of these sizes, over and over."""
    at = turn = 0
    while at < len(data):
        size = sizes[turn % len(sizes)] if sizes else len(data)
        yield data[at : at + size]
        at, turn = at + size, turn + 1


def parts(
    data: bytes, form: str, sizes: Sequence[int] = (), layout: Layout = LAYOUT, place: Place | None = None
) -> list[Rows]:
    """The stretches of a file that comes in pieces."""
    return list(read(lambda offset: pieces(data[offset:], sizes), form, layout, place or Place()))


def rows(found: Sequence[Rows]) -> list[Row]:
    """The rows of stretches."""
    return [
        Row(line, event, raw)
        for part in found
        for line, event, raw in zip(part.lines, part.events, part.raws(), strict=True)
    ]


@contextmanager
def rows_up_to(size_bytes: int, lines: int = 128) -> Iterator[None]:
    """Rows may be no longer than this, so that short files have many windows."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (window, csv_rows, ndjson):
            patch.setattr(module, "ROW_BYTES_MAX", size_bytes)
        patch.setattr(csv_rows, "ROW_LINES_MAX", lines)
        yield
