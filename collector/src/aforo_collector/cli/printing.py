"""Data on stdout: tables for people, JSON, NDJSON and CSV for programs."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from aforo_collector.views.upload import harmless

FORMATS = ("table", "json", "ndjson", "csv")
_NUMBER = re.compile(r"-[0-9.]+")

formatted = click.option(
    "--format",
    "shape",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="What to print on stdout.",
)


def print_list(items: Iterable[Mapping[str, Any]], shape: str, columns: Sequence[str]) -> None:
    """A list; a table shows the named columns, dotted for what is nested, the others show everything."""
    if shape == "ndjson":
        for item in items:
            print(_compact(item))
    elif shape == "json":
        print(json.dumps(list(items), indent=2, ensure_ascii=False))
    elif shape == "csv":
        _print_csv([flat(item) for item in items])
    else:
        rows = [flat(item) for item in items]
        print_table(columns, [[visible(_cell(row.get(column))) for column in columns] for row in rows])


def print_one(item: Mapping[str, Any], shape: str, table: Callable[[], None] | None = None) -> None:
    """One thing; its table is a line for each field, unless it has a table of its own."""
    if shape == "ndjson":
        print(_compact(item))
    elif shape == "json":
        print(json.dumps(item, indent=2, ensure_ascii=False))
    elif shape == "csv":
        _print_csv([flat(item)])
    elif table is not None:
        table()
    else:
        print_table(("field", "value"), [[name, visible(_cell(value))] for name, value in flat(item).items()])


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table: drawn on a terminal, aligned and never cut elsewhere."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(*columns, header_style="bold", box=None, pad_edge=False)
        for row in rows:
            table.add_row(*row)
        Console(markup=False, highlight=False, emoji=False).print(table)
        return
    lines = [list(columns), *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def flat(item: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields under dotted names; lists as JSON."""
    found: dict[str, Any] = {}
    for name, value in item.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def visible(text: str) -> str:
    """Text of unknown origin for people's eyes: what would move the cursor or break the line is escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else _compact(value)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _print_csv(rows: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_written(row.get(column)) for column in columns] for row in rows)


def _written(value: Any) -> str:
    """A cell of CSV: names come from anywhere, and what a spreadsheet would run is only text; numbers stay."""
    text = _cell(value)
    return text if _NUMBER.fullmatch(text) else harmless(text)
