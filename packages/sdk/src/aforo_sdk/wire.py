"""OTLP protobuf by hand: attributes, spans, and just enough reading to frame and show them.

The bytes are those of `opentelemetry/proto/trace/v1/trace.proto`. A general encoder costs ten times more per
span, and it would run inside the user's call; here constant parts are encoded once and joined. Everything is
pure.

Text that UTF-8 cannot hold (lone surrogates) becomes `?`, text over `TEXT_LENGTH_MAX` characters is cut, and
an integer that does not fit 64 bits is written as decimal text: a span is never lost because of one odd
value.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

AttributeValue: TypeAlias = (
    str | bool | int | float | bytes | Sequence["AttributeValue"] | Mapping[str, "AttributeValue"]
)

TEXT_LENGTH_MAX: Final = 65_536
ERROR_LENGTH_MAX: Final = 256
VALUE_DEPTH_MAX: Final = 16
CACHE_ENTRIES_MAX: Final = 4096
CACHE_KEYS_MAX: Final = 256
CACHED_TEXT_LENGTH_MAX: Final = 256
# A head is some 60 bytes however long its payload is, which may be a provider's whole usage object.
HEAD_PAYLOAD_LENGTH_MAX: Final = 1024

_DOUBLE: Final = struct.Struct("<cd").pack
_TIMES: Final = struct.Struct("<cQcQ").pack
_TIMES_SIZE: Final = 18
# Trace id, span id and perhaps the parent's id, each behind its tag; before them the span's tag and length.
_ROOT: Final = struct.Struct(">BBBHQQHQ").pack
_CHILD: Final = struct.Struct(">BBBHQQHQHQ").pack
_ROOT_SIZE: Final = 28
_CHILD_SIZE: Final = 38
_TAG_SIZE: Final = 3
_INT64_MASK: Final = (1 << 64) - 1
# The bytes a varint is made of: the last one, and those before it.
_LAST: Final = [bytes((seven_bits,)) for seven_bits in range(128)]
_MORE: Final = [bytes((seven_bits | 128,)) for seven_bits in range(128)]
_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1

_texts: dict[tuple[str, str], bytes] = {}
_keys: dict[str, bytes] = {}
_heads: dict[int, dict[str, bytes]] = {}
# All of an attribute that stands before its payload depends only on the key and on the payload's length.
_text_heads: dict[str, dict[int, bytes]] = {}
_integer_heads: dict[str, dict[int, bytes]] = {}


def varint(number: int) -> bytes:
    """`number` (0 ≤ number < 2**64) as a base-128 varint, 1 to 10 bytes."""
    if number < 128:
        return _LAST[number]
    if number < 16_384:
        return _MORE[number & 127] + _LAST[number >> 7]
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def sized(tag: bytes, payload: bytes) -> bytes:
    """A length-delimited field: `tag` is the encoded field number and wire type 2."""
    return tag + varint(len(payload)) + payload


def text(key: str, value: str) -> bytes:
    """The span attribute `key` = `value`, remembered: for values that come again (names, models, ids of
    identity).
    """
    try:
        return _texts[key, value]
    except KeyError:
        encoded = text_once(key, value)
        if len(value) <= CACHED_TEXT_LENGTH_MAX:
            if len(_texts) >= CACHE_ENTRIES_MAX:
                _texts.clear()
            _texts[key, value] = encoded
        return encoded


def text_once(key: str, value: str) -> bytes:
    """The span attribute `key` = `value`, not remembered: for what never comes again (ids)."""
    encoded = value[:TEXT_LENGTH_MAX].encode("utf-8", "replace")
    try:
        return _text_heads[key][len(encoded)] + encoded
    except KeyError:
        return utf8(key, encoded)


def utf8(key: str, encoded: bytes) -> bytes:
    """The span attribute `key` = text that is UTF-8 already (JSON), taken as it is."""
    try:
        return _text_heads[key][len(encoded)] + encoded
    except KeyError:
        return _remember(_text_heads, key, encoded, sized(b"\x0a", encoded))


def integer(key: str, value: int) -> bytes:
    """The span attribute `key` = `value` as int64; decimal text when it does not fit."""
    if not 0 <= value <= _INT64_MAX:
        return _attribute(key, _integer_value(value))
    number = varint(value)
    try:
        return _integer_heads[key][len(number)] + number
    except KeyError:
        return _remember(_integer_heads, key, number, b"\x18" + number)


def counts(values: Mapping[str, int]) -> bytes:
    """Several span attributes, each as `integer` encodes it, quicker; none of the values may be negative."""
    encoded = b""
    for key, value in values.items():
        try:
            if value < 128:
                encoded += _integer_heads[key][1] + _LAST[value]
            elif value < 16_384:
                encoded += _integer_heads[key][2] + _MORE[value & 127] + _LAST[value >> 7]
            else:
                encoded += integer(key, value)
        except KeyError:
            encoded += integer(key, value)
    return encoded


def boolean(key: str, value: bool) -> bytes:
    """The span attribute `key` = `value`."""
    return _attribute(key, b"\x10\x01" if value else b"\x10\x00")


def texts(key: str, values: Sequence[str]) -> bytes:
    """The span attribute `key` = a list of texts."""
    return _attribute(key, _list_value([_text_value(value) for value in values]))


def attribute(key: str, value: AttributeValue) -> bytes:
    """The span attribute `key` = any value that OTLP has a form for; anything else as its `str()`."""
    return _attribute(key, _any_value(value, 0))


def attributes(values: Mapping[str, AttributeValue]) -> bytes:
    """Several span attributes, joined."""
    return b"".join([attribute(key, value) for key, value in values.items()])


def resource(values: Mapping[str, AttributeValue]) -> bytes:
    """A `Resource` message with these attributes."""
    return b"".join([b"\x0a" + attribute(key, value)[1:] for key, value in values.items()])


def scope(name: str, version: str) -> bytes:
    """An `InstrumentationScope` message."""
    return sized(b"\x0a", name.encode()) + sized(b"\x12", version.encode())


def span_record(
    trace_id: int,
    span_id: int,
    parent_span_id: int,
    name: str,
    kind: int,
    start_ns: int,
    end_ns: int,
    encoded_attributes: bytes,
    error: str | None,
) -> bytes:
    """One span as field 2 of `ScopeSpans`: tag, length, `Span`.

    Ids are unsigned (128 and 64 bits; parent 0 = a root), times are unix nanoseconds in 64 bits, `kind` is
    OTLP's number, `encoded_attributes` comes from the functions above. `error` None leaves the status unset.
    Raises OverflowError or struct.error when an id or a time is out of range.
    """
    try:
        head = _heads[kind][name]
    except KeyError:
        head = _head(name, kind)
    if error is not None:
        head += _error_status(error)
    times = _TIMES(b"\x39", start_ns, b"\x41", end_ns)
    high, low = trace_id >> 64, trace_id & _INT64_MASK
    size = len(head) + _TIMES_SIZE + len(encoded_attributes)
    # The length as a varint of two bytes, as nearly every span has it.
    if parent_span_id:
        size += _CHILD_SIZE
        more, last = size & 127 | 128, size >> 7 & 255
        place = _CHILD(0x12, more, last, 0x0A10, high, low, 0x1208, span_id, 0x2208, parent_span_id)
    else:
        size += _ROOT_SIZE
        place = _ROOT(0x12, size & 127 | 128, size >> 7 & 255, 0x0A10, high, low, 0x1208, span_id)
    if not 128 <= size < 16_384:
        place = b"\x12" + varint(size) + place[_TAG_SIZE:]
    return b"".join((place, head, times, encoded_attributes))


def fields(message: bytes) -> Iterator[tuple[int, int, bytes | int]]:
    """The fields of an encoded message as (field number, wire type, value).

    Values are int for varints (wire type 0) and bytes for the rest. Raises ValueError where the bytes are not
    protobuf.
    """
    position, end = 0, len(message)
    while position < end:
        tag, position = _read_varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, position = _read_varint(message, position)
            yield number, wire_type, value
            continue
        if wire_type == 2:
            size, position = _read_varint(message, position)
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"wire type {wire_type} at byte {position}")
        if position + size > end:
            raise ValueError(f"field {number} ends {position + size - end} bytes behind the message")
        yield number, wire_type, message[position : position + size]
        position += size


def records(message: bytes, start: int = 0) -> Iterator[int]:
    """The end offset of every whole field-2 record in `message` from `start` on; stops at the first byte
    that is none.
    """
    position, end = start, len(message)
    while position < end and message[position] == 0x12:
        size, shift, cursor = 0, 0, position + 1
        while cursor < end and shift < 35:
            byte = message[cursor]
            cursor += 1
            size |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
        else:
            return
        position = cursor + size
        if position > end:
            return
        yield position


def read_attributes(encoded: bytes) -> dict[str, AttributeValue]:
    """Encoded span attributes back as values; a repeated key keeps its last value. Raises ValueError on
    other bytes.
    """
    found: dict[str, AttributeValue] = {}
    for _, _, pair in fields(encoded):
        key, value = _read_pair(pair)
        found[key] = value
    return found


def _head(name: str, kind: int) -> bytes:
    head = sized(b"\x2a", _utf8(name)) + b"\x30" + varint(kind)
    if len(name) <= CACHED_TEXT_LENGTH_MAX:
        named = _heads.setdefault(kind, {})
        if len(named) >= CACHE_ENTRIES_MAX:
            named.clear()
        named[name] = head
    return head


def _error_status(message: str) -> bytes:
    return sized(b"\x7a", sized(b"\x12", _utf8(message[:ERROR_LENGTH_MAX])) + b"\x18\x02")


def _attribute(key: str, value: bytes) -> bytes:
    try:
        prefix = _keys[key]
    except KeyError:
        prefix = sized(b"\x0a", _utf8(key)) + b"\x12"
        if len(_keys) >= CACHE_ENTRIES_MAX:
            _keys.clear()
        _keys[key] = prefix
    pair = prefix + varint(len(value)) + value
    return b"\x4a" + varint(len(pair)) + pair


def _remember(heads: dict[str, dict[int, bytes]], key: str, payload: bytes, value: bytes) -> bytes:
    """Encode an attribute whose value ends with `payload`, and remember all that stands before it."""
    encoded = _attribute(key, value)
    if len(payload) <= HEAD_PAYLOAD_LENGTH_MAX:
        if len(heads) >= CACHE_KEYS_MAX:
            heads.clear()
        heads.setdefault(key, {})[len(payload)] = encoded[: len(encoded) - len(payload)]
    return encoded


def _utf8(value: str) -> bytes:
    return value[:TEXT_LENGTH_MAX].encode("utf-8", "replace")


def _text_value(value: str) -> bytes:
    return sized(b"\x0a", _utf8(value))


def _integer_value(value: int) -> bytes:
    if 0 <= value <= _INT64_MAX:
        return b"\x18" + varint(value)
    if _INT64_MIN <= value < 0:
        return b"\x18" + varint(value + (1 << 64))
    return _text_value(hex(value) if value.bit_length() > 4096 else str(value))


def _list_value(values: Sequence[bytes]) -> bytes:
    return sized(b"\x2a", b"".join([sized(b"\x0a", value) for value in values]))


def _any_value(value: AttributeValue, depth: int) -> bytes:
    if isinstance(value, str):
        return _text_value(value)
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return _integer_value(value)
    if isinstance(value, float):
        return _DOUBLE(b"\x21", value)
    if isinstance(value, bytes):
        return sized(b"\x3a", value[:TEXT_LENGTH_MAX])
    if depth < VALUE_DEPTH_MAX:
        if isinstance(value, Mapping):
            pairs = [
                sized(b"\x0a", sized(b"\x0a", _utf8(str(key))) + sized(b"\x12", _any_value(item, depth + 1)))
                for key, item in value.items()
            ]
            return sized(b"\x32", b"".join(pairs))
        if isinstance(value, Sequence):
            return _list_value([_any_value(item, depth + 1) for item in value])
    return _text_value(str(value))


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    number, shift = 0, 0
    while position < len(message) and shift < 70:
        byte = message[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, position
        shift += 7
    raise ValueError(f"a varint is torn or too long at byte {position}")


def _read_pair(pair: bytes | int) -> tuple[str, AttributeValue]:
    key, value = "", b""
    for number, _, part in fields(_bytes(pair)):
        if number == 1:
            key = _bytes(part).decode("utf-8", "replace")
        elif number == 2:
            value = _bytes(part)
    return key, _read_value(value)


def _read_value(message: bytes) -> AttributeValue:
    for number, _, part in fields(message):
        if isinstance(part, int):
            if number == 2:
                return bool(part)
            return part - (1 << 64) if part > _INT64_MAX else part
        if number == 1:
            return part.decode("utf-8", "replace")
        if number == 4:
            return float(struct.unpack("<d", part)[0])
        if number == 5:
            return tuple(_read_value(_bytes(item)) for _, _, item in fields(part))
        if number == 6:
            return dict(_read_pair(item) for _, _, item in fields(part))
        if number == 7:
            return part
    return ""


def _bytes(part: bytes | int) -> bytes:
    if isinstance(part, int):
        raise ValueError("a number stands where a message should be")
    return part
