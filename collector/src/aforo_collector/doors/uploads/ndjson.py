"""NDJSON in stretches: each line a usage event as `/v1/ingest` takes it; a malformed line costs itself alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeAlias

import msgspec

from aforo_collector.domain.submission import Refusal
from aforo_collector.pipeline.wire_names import NAMES

from .columns import METADATA_PREFIX
from .rows import ROW_BYTES_MAX, Layout, Rows
from .window import Window

Event: TypeAlias = dict[str, Any]

_KEY: Final = "idempotencyKey"
_decode: Final = msgspec.json.Decoder(Event, float_hook=Decimal).decode
_MALFORMED: Final = (msgspec.DecodeError, UnicodeDecodeError, InvalidOperation, RecursionError)


def read_ndjson(window: Window, layout: Layout) -> Iterator[Rows]:
    """The rows of a file from the window's place on, one stretch at a time; blank lines are no rows."""
    complete = _completed(layout)
    while True:
        data, last = window.look()
        before = window.place
        if data:
            texts = data.split(b"\n")
            if not texts[-1]:
                texts.pop()
            window.take(len(data), data.count(b"\n"))
            lines: Sequence[int] = range(before.line, before.line + len(texts))
            try:
                events: list[Event | Refusal] = list(map(_decode, texts))
            except _MALFORMED:
                lines = [line for line, text in zip(lines, texts, strict=True) if text.strip()]
                events = [_event(text) for text in texts if text.strip()]
            complete(events, lines)
            yield Rows(events, lines, [1] * len(events), data, before, window.place)
        elif last:
            return
        else:
            data, size = window.take_line()
            refusal = Refusal("ROW_TOO_LONG", f"the row has {size} bytes; {ROW_BYTES_MAX} are allowed")
            yield Rows([refusal], [before.line], [1], data, before, window.place, is_cut=True)


def _event(text: bytes) -> Event | Refusal:
    try:
        return _decode(text)
    except UnicodeDecodeError:
        return Refusal("INVALID_ENCODING", "the row is not UTF-8; convert the file and send it again")
    except InvalidOperation:
        return Refusal("MALFORMED_ROW", "the row has a number that is too large to be one")
    except RecursionError:
        return Refusal("MALFORMED_ROW", "the row is nested too deeply")
    except msgspec.DecodeError as error:
        return Refusal("MALFORMED_ROW", f"the row is no JSON object: {error}")


def _completed(layout: Layout) -> Callable[[Sequence[Event | Refusal], Sequence[int]], None]:
    """Adds to rows what they do not say: their fields' names, their key, the defaults."""
    defaults = [
        (_spellings(field), field, value)
        for field, value in (("metricName", layout.metric), ("customerId", layout.customer))
        if value
    ]
    keys = _spellings(_KEY)
    is_plain = not defaults and not layout.renamed

    def complete(events: Sequence[Event | Refusal], lines: Sequence[int]) -> None:
        for event, line in zip(events, lines, strict=True):
            if isinstance(event, Refusal) or (is_plain and _names(event.get(_KEY))):
                continue
            _rename(event, layout.renamed)
            for names, field, value in defaults:
                if not _says(event, names):
                    event[field] = value
            if not any(_names(event.get(name)) for name in keys):
                event[_KEY] = layout.key(line)

    return complete


def _names(key: object) -> bool:
    """Whether something is a key: spaces alone are none, at no door. What is no text is refused later."""
    return key is not None and not (isinstance(key, str) and not key.strip())


def _spellings(field: str) -> frozenset[str]:
    return frozenset(name for name, meaning in NAMES.items() if meaning == field)


def _says(event: Event, names: frozenset[str]) -> bool:
    return not names.isdisjoint(event) and any(event.get(name) not in (None, "") for name in names)


def _rename(event: Event, renamed: Mapping[str, str]) -> None:
    for name, field in renamed.items():
        if name not in event:
            continue
        value = event.pop(name)
        if field.startswith(METADATA_PREFIX):
            metadata = event.setdefault("metadata", {})
            if isinstance(metadata, dict):
                metadata[field.removeprefix(METADATA_PREFIX)] = value
        else:
            event[field] = value
