"""The readers of uploaded files: exact, alike however a file comes, and a bad row costs itself alone."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from typing import Any

import pytest
from aforo_collector.domain.submission import Refusal
from aforo_collector.doors.uploads.reading import CSV, NDJSON, form_of, header_of
from aforo_collector.doors.uploads.rows import ROW_BYTES_MAX, Layout, UnreadableFile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from .reading import LAYOUT, ORIGIN, parts, rows, rows_up_to

HEADER = b"event_id,customer_id,metric,quantity,note\n"
SIZES = st.lists(st.integers(1, 60), max_size=5)
CELLS = st.text(st.sampled_from(list('ab1-,";\n\r \t{}\x00=é🜁')), max_size=12)
NOISE = st.lists(
    st.sampled_from([
        b"a", b"1",
        b",", b'"', b'""', b"\n", b"\r\n", b"\r", b"{", b"}", b'{"quantity":1}', b"[]", b" ", b"\xff", b"\xc3",
        b"\x00", b"k,acme,api_calls,1,x\n", b'k,acme,api_calls,1,"x\ny"\n', b'{"customerId":"acme","quantity":1.50}\n',
    ]),
    max_size=60,
).map(b"".join)  # fmt: skip
QUICK = settings(max_examples=150)


def written(records: list[list[str]], end: str = "\n", quoting: Any = csv.QUOTE_ALL) -> bytes:
    """A CSV file as the standard library writes it."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end, quoting=quoting).writerows(records)
    return text.getvalue().encode()


@QUICK
@given(
    st.lists(st.tuples(CELLS, CELLS, CELLS, CELLS), max_size=12),
    SIZES,
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_csv_is_read_as_the_standard_library_reads_it(
    records: list[tuple[str, ...]], sizes: list[int], end: str, quoted: bool
) -> None:
    """Whatever stands in the cells: quotes, line feeds, blanks; in pieces of any size."""
    if not quoted:  # the writer leaves a lone carriage return bare, which no reader takes for part of a cell
        records = [tuple(cell.replace("\r", "") for cell in record) for record in records]
    wanted = [[key, customer, metric, "1.50", note] for key, customer, metric, note in records]
    header = ["idempotencyKey", "customerId", "metricName", "quantity", "note"]
    data = written([header, *wanted], end, csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
    assert list(csv.reader(io.StringIO(data.decode(), newline=""))) == [header, *wanted]
    with rows_up_to(400):
        found = rows(parts(data, CSV, sizes))

    assert len(found) == len(wanted)
    for row, (key, customer, metric, quantity, note) in zip(found, wanted, strict=True):
        assert row.event["idempotencyKey"] == (key if key.strip() else f"{ORIGIN}:{row.line:012}")
        assert (row.event["customerId"] or "", row.event["metricName"] or "") == (customer, metric)
        assert row.event["quantity"] == Decimal(quantity)
        assert str(row.event["metadata"].get("note", "")) == note


OBJECTS = st.dictionaries(
    st.sampled_from(["customerId", "quantity", "event_id", "note", "metadata"]),
    st.one_of(st.text(max_size=5), st.integers(), st.decimals(allow_nan=False, allow_infinity=False, places=3),
              st.none(), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)),
    max_size=5,
)  # fmt: skip
LINES = st.one_of(
    OBJECTS.map(lambda value: json.dumps(value, default=str)),
    st.sampled_from(["", " ", "[1]", '"x"', "{", '{"a":1} {"a":2}', '{"a":1}\r', "nul", '{"a":1.10}', '{"a":NaN}']),
)  # fmt: skip


@QUICK
@given(st.lists(LINES, max_size=12), SIZES, st.booleans())
def test_ndjson_is_read_as_the_standard_library_reads_it(
    lines: list[str], sizes: list[int], ended: bool
) -> None:
    """Each line by itself: an object is a row, anything else but a blank line is refused, numbers are exact."""
    data = "\n".join(lines).encode() + (b"\n" if ended else b"")
    with rows_up_to(400):
        found = rows(parts(data, NDJSON, sizes))

    assert [row.line for row in found] == [n for n, line in enumerate(lines, 1) if line.strip()]
    for row in found:
        text = lines[row.line - 1]
        assert row.raw == text.encode()
        value = _loads(text)
        if not isinstance(value, dict):
            assert isinstance(row.event, Refusal)
            assert row.event.code == "MALFORMED_ROW"
        else:
            key = value.get("event_id")
            said = key is not None and not (isinstance(key, str) and not key.strip())
            assert dict(row.event) == value | ({} if said else {"idempotencyKey": f"{ORIGIN}:{row.line:012}"})


def _loads(text: str) -> Any:
    def refuse(_: str) -> Any:
        raise ValueError

    try:
        return json.loads(text, parse_float=Decimal, parse_constant=refuse)
    except ValueError:
        return None


@settings(max_examples=400)
@given(NOISE, SIZES, SIZES, st.sampled_from([CSV, NDJSON]), st.integers(20, 90), st.integers(2, 5))
@example(b'"a\nk,acme,api_calls,1,x\nk,acme,api_calls,1,"y"\n', [], [1], CSV, 60, 5)
@example(b'x","\n' * 30, [7], [3], CSV, 40, 3)
def test_bytes_of_any_kind_are_read_alike_in_any_pieces_and_from_any_place(
    noise: bytes, sizes: list[int], others: list[int], form: str, row_bytes: int, row_lines: int
) -> None:
    """What a row is depends on the file alone; reading goes on anywhere and gives the rest; nothing is lost."""
    data = (HEADER if form == CSV else b"") + noise
    with rows_up_to(max(row_bytes, len(HEADER)), row_lines):
        found = parts(data, form, sizes)
        assert rows(parts(data, form, others)) == rows(found)
        place = found[-1].after if found else None
        assert place is None or (place.offset, place.line) == (len(data), data.count(b"\n") + 1)
        for at, part in enumerate(found):
            assert rows(parts(data, form, others, place=part.after)) == rows(found[at + 1 :])
        lines = data.split(b"\n")
        for row in rows(found):
            height = row.raw.count(b"\n") + 1
            stands = b"\n".join(lines[row.line - 1 : row.line - 1 + height])
            assert stands.startswith(row.raw), "the bytes of a row are those of the file"
        covered = {n for row in rows(found) for n in range(row.line, row.line + row.raw.count(b"\n") + 1)}
        first = 2 if form == CSV else 1
        for number, line in enumerate(lines[first - 1 :], first):
            assert number in covered or not line.strip(), "no line is passed over"


GOOD = b"k%d,acme,api_calls,1,x\n"
BAD = [
    b'"', b'k,"acme,api_calls,1,x', b'k,"ac"me,api_calls,1,x', b"k,acme,api_calls,1", b"k,acme,api_calls,1,x,y",
    b"k,acme,api\rcalls,1,x", b"k,acme,api_calls,1,\xff", b"k,acme,api_calls,many,x", b'x","', b"\xff\xfe\x00",
    b"k,acme,api_calls,1," + b"x" * (ROW_BYTES_MAX + 1),
]  # fmt: skip


@QUICK
@given(st.lists(st.sampled_from([None, *(bad for bad in BAD if b'"' not in bad)]), max_size=30),
       st.sampled_from(BAD), st.integers(0, 30), SIZES)  # fmt: skip
def test_a_malformed_csv_row_costs_itself_alone(
    mix: list[bytes | None], bad: bytes, at: int, sizes: list[int]
) -> None:
    """A quote too many, cells that are missing, bytes that are no text: every other row is read."""
    mix.insert(at, bad)
    data = HEADER + b"".join(GOOD % n if bad is None else bad + b"\n" for n, bad in enumerate(mix))
    found = {row.line: row.event for row in rows(parts(data, CSV, [size * 1_000 for size in sizes]))}
    for number, line in enumerate(mix, 2):
        assert isinstance(found[number], Refusal) == (line is not None)


def test_a_quote_that_a_later_one_closes_costs_the_lines_between() -> None:
    """They are one row by the rules, with the wrong number of cells; it is refused and shown as a whole."""
    data = HEADER + b'k1,"acme\n' + GOOD % 2 + b'k3",api_calls\n' + GOOD % 4
    first, second = rows(parts(data, CSV))
    assert first.event == Refusal("COLUMN_COUNT", "the row has 3 cells and the header 5")
    assert first.raw == b'k1,"acme\nk2,acme,api_calls,1,x\nk3",api_calls'
    assert second.event["idempotencyKey"] == "k4"


@pytest.mark.parametrize("form", [CSV, NDJSON])
def test_a_row_without_an_end_costs_no_memory_and_no_other_row(form: str) -> None:
    """A line of many megabytes is refused by its size, with its beginning; the rows around it are read."""
    good = GOOD % 1 if form == CSV else b'{"quantity":1}\n'
    data = (HEADER if form == CSV else b"") + good + b"x" * 5_000_000 + b"\n" + good
    found = parts(data, form, [65_536])
    events = [row.event for row in rows(found)]
    assert [isinstance(event, Refusal) for event in events] == [False, True, False]
    assert events[1].code == "ROW_TOO_LONG"
    assert "5000001 bytes" in events[1].detail
    assert [part.is_cut for part in found] == [False, True, False]
    assert len(found[1].raws()[0]) == ROW_BYTES_MAX


def test_the_longest_row_is_read_and_a_longer_one_is_not() -> None:
    """The bounds hold to the byte and to the line, in both forms."""
    with rows_up_to(100, 4):
        fits, longer = b"k1,acme,m,1," + b"x" * 87 + b"\n", b"k1,acme,m,1," + b"x" * 88 + b"\n"
        high, higher = b'k1,acme,m,1,"\n\n\n"\n', b'k1,acme,m,1,"\n\n\n\n"\n'
        for row, is_read in ((fits, True), (longer, False), (high, True), (higher, False)):
            first = rows(parts(HEADER + row + GOOD % 2, CSV))[0]
            assert isinstance(first.event, Refusal) != is_read
        for pad, is_read in ((85, True), (86, False)):
            first = rows(parts(b'{"quantity":1' + b" " * pad + b"}\n" + b"{}\n", NDJSON))[0]
            assert isinstance(first.event, Refusal) != is_read


def test_rows_that_open_quotes_one_after_the_other_are_read_in_good_time() -> None:
    """A file that opens a new quote in every line is no way to keep a collector busy for hours."""
    found = rows(parts(HEADER + b'x","\n' * 10_000, CSV, [65_536]))
    assert len(found) == 10_000
    assert all(isinstance(row.event, Refusal) for row in found)


def test_the_spellings_of_columns() -> None:
    """Snake case, camel case, blanks, aliases and the sender's own map; what is unknown is metadata."""
    data = (
        "\ufeffEvent ID,event_timestamp,tenant_id,customer_id,Kunde,metric_id,quantity,"
        "status code,metadata,metadata.model,n\r\n"
        'e1,2026-09-01T00:00:00Z,t1,acme,Müller,api_calls,0.10,200,"{""n"":1.50,""a"":[]}",m-1,007\r\n'
        ",1790000000,,acme,,api_calls,3,,,,1.0\r\n"
    ).encode()
    [first, second] = rows(parts(data, CSV, [3]))
    assert first.event == {
        "idempotencyKey": "e1", "occurredAt": "2026-09-01T00:00:00Z", "customerId": "acme", "metricName": "api_calls",
        "quantity": Decimal("0.10"), "statusCode": 200,
        "metadata": {"a": [], "n": "007", "tenant_id": "t1", "Kunde": "Müller", "model": "m-1"},
    }  # fmt: skip
    assert second.event == {
        "idempotencyKey": f"{ORIGIN}:000000000003", "occurredAt": 1790000000, "customerId": "acme",
        "metricName": "api_calls", "quantity": 3, "statusCode": None, "metadata": {"n": Decimal("1.0")},
    }  # fmt: skip
    mapped = Layout(ORIGIN, {"Kunde": "customerId", "n": "metadata.count"})
    [first, _] = rows(parts(data, CSV, layout=mapped))
    assert first.event["customerId"] == "Müller"
    assert first.event["metadata"]["customer_id"] == "acme"
    assert first.event["metadata"]["count"] == "007"


@QUICK
@given(st.lists(st.text(max_size=20), min_size=1, max_size=6, unique_by=lambda name: name.strip()))
def test_any_name_of_a_column_is_only_a_name(names: list[str]) -> None:
    """Whatever a header says stays text: it is the name in the metadata."""
    names = [f"zz{name}" for name in names]
    data = written(
        [["customer", "metric", "quantity", *names], ["acme", "m", "1", *map(str, range(len(names)))]]
    )
    [row] = rows(parts(data, CSV))
    wanted = {name.strip().removeprefix("metadata."): number for number, name in enumerate(names)}
    assert row.event["metadata"] == wanted


def test_defaults_fill_what_rows_leave_out() -> None:
    """A default metric and customer are for rows that name none, in both forms and under any spelling."""
    layout = Layout(ORIGIN, {"Menge": "quantity"}, metric="api_calls", customer="acme")
    [only] = rows(parts(b"Menge\n2\n", CSV, layout=layout))
    assert (only.event["customerId"], only.event["metricName"], only.event["quantity"]) == (
        "acme",
        "api_calls",
        2,
    )
    found = rows(parts(b"metric,customer,Menge\n,x,1\nm,,2\n", CSV, layout=layout))
    assert [(r.event["customerId"], r.event["metricName"]) for r in found] == [
        ("x", "api_calls"),
        ("acme", "m"),
    ]
    found = rows(
        parts(b'{"Menge":1,"metric":"m"}\n{"customer_id":"x","quantity":2}\n', NDJSON, layout=layout)
    )
    assert [row.event.get("customerId", row.event.get("customer_id")) for row in found] == ["acme", "x"]
    assert [row.event.get("metricName", row.event.get("metric")) for row in found] == ["m", "api_calls"]
    assert [row.event["quantity"] for row in found] == [1, 2]


@pytest.mark.parametrize(
    ("data", "code", "columns"),
    [
        (b"", "UNREADABLE_HEADER", {}),
        (b"\n\n", "UNREADABLE_HEADER", {}),
        (b"acme,api_calls,1\n", "UNREADABLE_HEADER", {}),
        (b'customer,metric,"quantity\n', "UNREADABLE_HEADER", {}),
        (b"customer,metric,quantity\xff\n", "UNREADABLE_HEADER", {}),
        (b"\xff\xfec\0u\0", "UNREADABLE_HEADER", {}),
        (b"x" * (ROW_BYTES_MAX + 1), "UNREADABLE_HEADER", {}),
        (b"," * 1_000, "UNREADABLE_HEADER", {}),
        (b"customer,customer_id,metric,quantity\n", "AMBIGUOUS_HEADER", {}),
        (b"customer,metric,quantity,a,a\n", "AMBIGUOUS_HEADER", {}),
        (b"customer,metric,quantity\n", "UNKNOWN_COLUMN", {"Menge": "quantity"}),
    ],
)
def test_a_header_that_says_too_little_is_told(data: bytes, code: str, columns: dict[str, str]) -> None:
    """A file whose columns cannot be known is not read, and the sentence says what to do."""
    with pytest.raises(UnreadableFile) as raised:
        parts(data, CSV, layout=Layout(ORIGIN, columns))
    assert raised.value.code == code


@pytest.mark.parametrize("odd", ["1e9999999999999999999", "1" + "0" * 5_000], ids=["exponent", "digits"])
@pytest.mark.parametrize("form", [CSV, NDJSON])
def test_a_number_that_none_can_hold_costs_its_row_alone(form: str, odd: str) -> None:
    """Such a number in the metadata of one row is that row's refusal; the rows around it are read."""
    if form == CSV:
        lines = ["customerId,metricName,quantity,metadata", "a,m,1,", f'a,m,1,"{{""x"":{odd}}}"', "a,m,2,"]
    else:
        lines = ['{"quantity":1}', f'{{"quantity":1,"metadata":{{"x":{odd}}}}}', '{"quantity":2}']
    found = [row.event for row in rows(parts("\n".join(lines).encode(), form))]
    assert [isinstance(event, Refusal) for event in found] == [False, True, False]


def test_numbers_are_exact_and_odd_ones_refused() -> None:
    """Cells of quantity become the number that stands there, or a refusal; never a float."""
    quantities = [
        "0",
        "007",
        "1.000000",
        "12345678901234.123456",
        "-1",
        "1e3",
        "",
        " 4 ",
        "1_0",
        "\u0661",
        "NaN",
        "1,5",
        "9" * 5000,
    ]
    data = written([["customer", "metric", "quantity"], *([["acme", "m", q] for q in quantities])])
    found = [
        row.event if isinstance(row.event, Refusal) else row.event["quantity"]
        for row in rows(parts(data, CSV))
    ]
    exact = [0, 7, Decimal("1.000000"), Decimal("12345678901234.123456"), -1, Decimal("1e3"), None, 4]
    assert found[: len(exact)] == exact
    assert [refusal.code for refusal in found[len(exact) :]] == ["INVALID_QUANTITY"] * 5
    [row] = rows(parts(b'{"quantity":1e99999999999999999999}\n', NDJSON))
    assert row.event.code == "MALFORMED_ROW"


@pytest.mark.parametrize(
    ("name", "head", "form"),
    [
        ("a.csv", b"{", CSV), ("A.CSV.GZ", b"", CSV), ("x.jsonl.zst", b"a", NDJSON), ("x.ndjson", b"", NDJSON),
        ("upload", b'\xef\xbb\xbf {"a":1}', NDJSON), ("upload", b"a,b", CSV), ("", b"", CSV),
    ],
)  # fmt: skip
def test_the_form_of_a_file(name: str, head: bytes, form: str) -> None:
    """The name says it, else the first bytes do."""
    assert form_of(name, head) == form


def test_the_header_is_kept_as_it_stands() -> None:
    """A file of refused rows begins as the file did, blank lines, byte order mark and all."""
    header = b'\xef\xbb\xbf\n"customer",metric,"no\nte",quantity\r\n'
    data = header + b"acme,m,1,1\n"
    assert header_of(lambda offset: iter([data[offset:]]), CSV, LAYOUT) == header
    assert header_of(lambda offset: iter([data[offset:]]), NDJSON, LAYOUT) == b""
