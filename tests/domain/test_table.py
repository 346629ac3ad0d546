"""A table is the events that it was made of."""

from __future__ import annotations

from typing import Any

from aforo_collector.domain.submission import Refusal
from aforo_collector.domain.table import Table, joined, tables_in
from hypothesis import given
from hypothesis import strategies as st

refusals = st.builds(Refusal, st.just("BAD"), st.text(max_size=3))
objects = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3) | st.none(), max_size=4)
sequences = st.lists(objects | refusals, max_size=8)


@st.composite
def tables(draw: st.DrawFn, names: tuple[str, ...] = ("a", "b")) -> Table:
    """One whose rows are events of these names, some of them refused."""
    rows = draw(st.lists(st.tuples(*[st.integers(0, 3)] * len(names)), max_size=6))
    refused = draw(st.dictionaries(st.integers(0, 5), refusals, max_size=2))
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return Table(names, columns, len(rows), {row: why for row, why in refused.items() if row < len(rows)})


@given(st.lists(sequences | tables() | tables(("b", "c")), max_size=4))
def test_joined_sequences_are_all_their_events_in_order(parts: list[Any]) -> None:
    """Whether they come as tables or as lists, none is lost, doubled or moved."""
    assert list(joined(parts)) == [event for part in parts for event in part]


@given(sequences | tables())
def test_the_tables_among_events_hold_each_of_them_once(events: Any) -> None:
    """At its place, and with all its fields; what is refused is told apart."""
    refusals, found = tables_in(events)
    held = dict(refusals)
    for places, table in found:
        for place, event in zip(places, table, strict=True):
            assert place not in held or event is refusals[place]
            held[place] = event
    assert [held[place] for place in sorted(held)] == list(events)


@given(tables())
def test_a_table_is_read_as_a_list_is(table: Table) -> None:
    """By place, from the end and by slice."""
    rows = list(table)
    assert [table[-at - 1] for at in range(len(rows))] == rows[::-1]
    assert table[1:] == rows[1:]
