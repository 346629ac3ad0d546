"""Reading a file of usage events, from its beginning or from any place where a stretch ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from .columns import Columns
from .csv_rows import read_csv, read_header
from .ndjson import read_ndjson
from .rows import Layout, Place, Rows
from .window import BYTE_ORDER_MARK, Window

CSV: Final = "CSV"
NDJSON: Final = "NDJSON"
FORMS: Final = (CSV, NDJSON)

Source: TypeAlias = Callable[[int], Iterator[bytes]]
"""Gives the unpacked bytes of a file from an offset on."""

_ENDINGS: Final = {"csv": CSV, "ndjson": NDJSON, "jsonl": NDJSON}
_PACKINGS: Final = (".gz", ".gzip", ".zst", ".zstd")


def form_of(file_name: str, head: bytes) -> str:
    """What a file is, by the ending of its name, else by its first unpacked bytes."""
    name = file_name.lower()
    for packing in _PACKINGS:
        name = name.removesuffix(packing)
    if form := _ENDINGS.get(name.rpartition(".")[2]):
        return form
    return NDJSON if head.removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"{") else CSV


def read(source: Source, form: str, layout: Layout, place: Place) -> Iterator[Rows]:
    """The rows of a file from a place on; raises `UnreadableFile`, for a header or while it unpacks.

    Wherever reading began, the stretches cover the same rows.
    """
    if form == NDJSON:
        return read_ndjson(Window(source(place.offset), place), layout)
    window, columns = _header(source, layout)
    if place.offset > window.place.offset:
        window = Window(source(place.offset), place)
    return read_csv(window, columns)


def header_of(source: Source, form: str, layout: Layout) -> bytes:
    """The bytes of a file before its first row: a CSV file's header, b"" for NDJSON. Raises `UnreadableFile`."""
    if form == NDJSON:
        return b""
    window, _ = _header(source, layout)
    held = bytearray()
    for block in source(0):
        held += block
        if len(held) >= window.place.offset:
            break
    return bytes(held[: window.place.offset])


def _header(source: Source, layout: Layout) -> tuple[Window, Columns]:
    window = Window(source(0), Place())
    return window, read_header(window, layout)
