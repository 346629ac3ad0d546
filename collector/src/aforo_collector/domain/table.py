"""Events by field: many that have the same fields, kept as one column for each field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final, overload

from .submission import RawEvent, Refusal

_NO_REFUSALS: Final[Mapping[int, Refusal]] = {}


class Table(Sequence[RawEvent | Refusal]):
    """A sequence of events that all have the fields `names`; `columns` are their values, field by field.

    In the rows of `refusals` something stands that could not be read; their values mean nothing.
    """

    __slots__ = ("columns", "names", "refusals", "rows")

    def __init__(
        self,
        names: tuple[str, ...],
        columns: Sequence[Sequence[object]],
        rows: int,
        refusals: Mapping[int, Refusal] = _NO_REFUSALS,
    ) -> None:
        self.names = names
        self.columns = columns
        self.rows = rows
        self.refusals = refusals

    def __len__(self) -> int:
        return self.rows

    @overload
    def __getitem__(self, at: int) -> RawEvent | Refusal: ...
    @overload
    def __getitem__(self, at: slice) -> list[RawEvent | Refusal]: ...
    def __getitem__(self, at: int | slice) -> RawEvent | Refusal | list[RawEvent | Refusal]:
        if isinstance(at, slice):
            return [self[row] for row in range(*at.indices(self.rows))]
        if not -self.rows <= at < self.rows:
            raise IndexError(f"row {at} of {self.rows}")
        row = at % self.rows
        return self.refusals.get(row) or self.event(row)

    def event(self, row: int) -> RawEvent:
        """The event of a row."""
        return dict(zip(self.names, [column[row] for column in self.columns], strict=True))


def joined(parts: Sequence[Sequence[RawEvent | Refusal]]) -> Sequence[RawEvent | Refusal]:
    """All events of some sequences: one table of tables with the same fields, else a list."""
    if len(parts) == 1:
        return parts[0]
    tables = [part for part in parts if isinstance(part, Table)]
    if len(tables) < len(parts) or len({table.names for table in tables}) != 1:
        return list(chain.from_iterable(parts))
    columns = [list(chain.from_iterable(column)) for column in zip(*(t.columns for t in tables), strict=True)]
    refusals: dict[int, Refusal] = {}
    rows = 0
    for table in tables:
        refusals.update((rows + row, refusal) for row, refusal in table.refusals.items())
        rows += table.rows
    return Table(tables[0].names, columns, rows, refusals)


def tables_in(
    events: Sequence[RawEvent | Refusal],
) -> tuple[Mapping[int, Refusal], list[tuple[Sequence[int], Table]]]:
    """What is refused of these, by its place; and the others as tables, each with the places of its rows."""
    if isinstance(events, Table):
        return events.refusals, [(range(len(events)), events)]
    refusals: dict[int, Refusal] = {}
    places: dict[tuple[str, ...], list[int]] = {}
    for place, event in enumerate(events):
        if isinstance(event, Refusal):
            refusals[place] = event
        else:
            places.setdefault(tuple(event), []).append(place)
    tables: list[tuple[Sequence[int], Table]] = []
    for names, found in places.items():
        rows = [events[place].values() for place in found]  # type: ignore[union-attr]  # no refusal is there
        tables.append((found, Table(names, list(zip(*rows, strict=True)), len(found))))
    return refusals, tables
