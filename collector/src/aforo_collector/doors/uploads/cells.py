"""Cells of a CSV file as values: text has no types, so what a cell means is its column's business.

Each reader takes the cells of one column of a stretch and gives their values, None for a blank one. What
cannot be read goes into `faults` by the number of its row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import msgspec

from aforo_collector.domain.money import MoneyError, decimal_of
from aforo_collector.domain.submission import Refusal
from aforo_collector.pipeline.wire_names import INTEGERS, OBJECTS

Faults: TypeAlias = dict[int, Refusal]
Cells: TypeAlias = Sequence[str]
Values: TypeAlias = Sequence[object]

_NUMBER: Final = re.compile(r"0|-?[1-9][0-9]{0,17}|-?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,18}")
_COUNT_DIGITS_MAX: Final = 16
_SWITCHES: Final = {"": None, "true": True, "false": False}
_object: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError)


def texts(_: str, cells: Cells, __: Faults) -> Values:
    """Text as it stands."""
    return [cell or None for cell in cells] if "" in cells else cells


def keys(_: str, cells: Cells, __: Faults) -> Values:
    """Text as it stands; spaces alone are no key, at no door."""
    return [cell if cell.strip() else None for cell in cells]


def quantities(_: str, cells: Cells, faults: Faults) -> Values:
    """Exact numbers."""
    digits = "".join(cells)
    if digits.isdecimal() and digits.isascii() and "" not in cells:
        try:
            return list(map(int, cells))
        except ValueError:  # one has thousands of digits
            pass
    values = [int(cell) if _is_count(cell) else _quantity(cell) for cell in cells]
    if Refusal in set(map(type, values)):
        for row, value in enumerate(values):
            if isinstance(value, Refusal):
                faults.setdefault(row, value)
    return values


def _is_count(cell: str) -> bool:
    return cell.isdecimal() and cell.isascii() and len(cell) < _COUNT_DIGITS_MAX


@lru_cache(65_536)
def _quantity(cell: str) -> Decimal | Refusal | None:
    try:
        return decimal_of(cell.strip()) if cell else None
    except MoneyError as error:
        return Refusal("INVALID_QUANTITY", f"quantity: {error}", "quantity")


def moments(_: str, cells: Cells, __: Faults) -> Values:
    """RFC 3339 text as it stands, epoch seconds as a number."""
    return [cell if cell[4:5] == "-" else natural(cell) for cell in cells]


def naturals(_: str, cells: Cells, __: Faults) -> Values:
    """A number where the cell is one as JSON would write it, else text: `007` and `1e5` are no numbers."""
    return list(map(natural, cells))


@lru_cache(65_536)
def natural(cell: str) -> object:
    """As `naturals`, for one cell."""
    if _NUMBER.fullmatch(cell) is None:
        return cell or None
    return Decimal(cell) if "." in cell else int(cell)


def switches(_: str, cells: Cells, __: Faults) -> Values:
    """`true` and `false`."""
    return [_SWITCHES.get(cell.lower(), cell) for cell in cells]


def objects(name: str, cells: Cells, faults: Faults) -> Values:
    """JSON objects, their numbers exact."""
    try:
        return list(map(_object, cells))
    except _UNREADABLE:
        return [_object_or_fault(name, row, cell, faults) if cell else None for row, cell in enumerate(cells)]


def _object_or_fault(name: str, row: int, cell: str, faults: Faults) -> dict[str, Any] | None:
    try:
        return _object(cell)
    except _UNREADABLE as error:
        faults.setdefault(
            row, Refusal(f"INVALID_{name.upper()}", f"{name} is not a JSON object: {error}", name)
        )
        return None


READERS: Final[Mapping[str, Callable[[str, Cells, Faults], Values]]] = MappingProxyType(
    {"idempotencyKey": keys, "quantity": quantities, "occurredAt": moments, "gqlHasErrors": switches}
    | dict.fromkeys(INTEGERS, naturals)
    | dict.fromkeys(OBJECTS, objects)
)
"""How the cells of a field are read; those of any other field are text."""
