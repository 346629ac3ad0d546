"""The header of a CSV file: which field each column is, by its own name, an alias, or what the sender says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from aforo_collector.domain.table import Table
from aforo_collector.pipeline.wire_names import NAMES

from .cells import READERS, Faults, Values, natural, texts
from .rows import Layout, UnreadableFile

COLUMNS_MAX: Final = 1_000
METADATA_PREFIX: Final = "metadata."
_KEY: Final = "idempotencyKey"


def _squeezed(name: str) -> str:
    return "".join(char for char in name if char.isalnum()).casefold()


_SQUEEZED: Final = {_squeezed(name): field for name, field in NAMES.items()} | {"customer": "customerId"}


def field_of(name: str) -> str:
    """The field that a column's name means, by any spelling; "" for none, which is metadata."""
    return _SQUEEZED.get(_squeezed(name), "")


def renamed_from(said: Mapping[str, str]) -> dict[str, str]:
    """What a sender's column map says, {name in the file: field}; raises ValueError for what is no field."""
    found: dict[str, str] = {}
    for column, meaning in said.items():
        is_metadata = meaning.startswith(METADATA_PREFIX) and len(meaning) > len(METADATA_PREFIX)
        field = meaning if is_metadata else field_of(meaning)
        if not field:
            raise ValueError(
                f"{meaning!r}, which {column!r} shall be, is no field of a usage event; "
                "name one like customerId or quantity, or metadata.NAME"
            )
        found[column] = field
    return found


class Columns:
    """The columns of a file; turns rows of cells into events."""

    def __init__(self, header: Sequence[str], layout: Layout) -> None:
        self.width = len(header)
        if self.width > COLUMNS_MAX:
            detail = f"the first line names {self.width} columns; {COLUMNS_MAX} are allowed"
            raise UnreadableFile("UNREADABLE_HEADER", detail)
        self._layout = layout
        names = [name.strip() for name in header]
        self._fields, self._extras = _assigned(names, layout.renamed)
        _check(self._fields, layout)

    def events(self, records: Sequence[Sequence[str]], lines: Sequence[int]) -> Table:
        """The event of each row of cells, or why it is none; every row has as many cells as the header."""
        faults: Faults = {}
        count = len(records)
        cells: list[Sequence[str]] = list(zip(*records, strict=True)) or [()] * self.width
        found: dict[str, Values] = {
            field: READERS.get(field, texts)(field, cells[at], faults) for field, at in self._fields.items()
        }
        if self._extras:
            found["metadata"] = self._metadata(found.get("metadata"), cells)
        layout = self._layout
        for field, default in (("metricName", layout.metric), ("customerId", layout.customer)):
            if default:
                found[field] = [value or default for value in found.get(field, [None] * count)]
        keys = found.get(_KEY)
        if keys is None:
            found[_KEY] = list(map(layout.key, lines))
        elif None in keys:
            found[_KEY] = [key or layout.key(line) for key, line in zip(keys, lines, strict=True)]
        return Table(tuple(found), list(found.values()), count, faults)

    def _metadata(self, said: Values | None, cells: Sequence[Sequence[str]]) -> Values:
        """The metadata of each row: what its own column says, and above that the cells of columns without meaning."""
        named = list(zip(*[cells[at] for at in self._extras.values()], strict=True))
        # Most rows of most files have what another one has: one object for all of them.
        extras = {
            row: {
                name: value
                for name, value in zip(self._extras, map(natural, row), strict=True)
                if value is not None
            }
            for row in set(named)
        }
        if said is None:
            return [extras[row] for row in named]
        return [
            {**one, **extras[row]} if isinstance(one, dict) else extras[row]
            for one, row in zip(said, named, strict=True)
        ]


def _assigned(names: Sequence[str], renamed: Mapping[str, str]) -> tuple[dict[str, int], dict[str, int]]:
    """({field: column}, {name in the metadata: column}); what the sender says wins over what a name means."""
    fields: dict[str, int] = {}
    extras: dict[str, int] = {}
    if missing := [name for name in renamed if name not in names]:
        raise UnreadableFile("UNKNOWN_COLUMN", f"the column map names {missing[0]!r}, which the file has not")
    order = sorted(range(len(names)), key=lambda at: names[at] not in renamed)
    for at in order:
        name = names[at]
        meaning = renamed.get(name) or field_of(name)
        if meaning in fields and name not in renamed and names[fields[meaning]] in renamed:
            meaning = ""
        if meaning.startswith(METADATA_PREFIX) or not meaning:
            name = (meaning or name or f"column_{at + 1}").removeprefix(METADATA_PREFIX)
            into, key = extras, name
        else:
            into, key = fields, meaning
        if key in into:
            raise UnreadableFile(
                "AMBIGUOUS_HEADER",
                f"the columns {names[into[key]]!r} and {names[at]!r} both mean {key}; say which one does"
                " with a column map",
            )
        into[key] = at
    return fields, extras


def _check(fields: Mapping[str, int], layout: Layout) -> None:
    missing = [
        f"{field}{otherwise}"
        for field, otherwise, default in (
            ("customerId", " (or a default customer)", layout.customer),
            ("metricName", " (or a default metric)", layout.metric),
            ("quantity", "", ""),
        )
        if field not in fields and not default
    ]
    if missing:
        raise UnreadableFile(
            "UNREADABLE_HEADER",
            f"the first line names no column for {' and '.join(missing)}; name the columns there, like"
            " customerId,metricName,quantity,occurredAt, or say with a column map what they mean",
        )
