"""Writing the few shapes of TOML that a catalog has: texts, lists, inline tables, arrays of tables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_of(document: Mapping[str, Any]) -> str:
    """A table as TOML; lists of tables become `[[sections]]`, tables inline ones."""
    return "\n".join(_lines(document, "")).strip()


def _lines(table: Mapping[str, Any], path: str) -> list[str]:
    lines = [f"{_key(name)} = {_value(value)}" for name, value in table.items() if not _is_tables(value)]
    for name, value in table.items():
        if _is_tables(value):
            for row in value:
                lines += ["", f"[[{path}{_key(name)}]]", *_lines(row, f"{path}{_key(name)}.")]
    return lines


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(name)} = {_value(item)}" for name, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    return json.dumps(value)


def _text(text: str) -> str:
    # JSON escapes all that TOML's basic strings need escaped, but for DEL, which no catalog has.
    return json.dumps(text, ensure_ascii=False)
