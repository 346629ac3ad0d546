"""Roll-ups are the sums of the net events, exactly, whatever happened; damage is found and mended."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest
from aforo_collector.cli import db
from aforo_collector.domain.money import CONTEXT
from aforo_collector.domain.usage import Kind, Occurrence
from aforo_collector.service.checking import check, rebuild_derived
from aforo_collector.store import event_rows, posting_count
from aforo_collector.store.roll_up_count import DUE, TABLES
from aforo_collector.store.roll_up_rows import KEYS, SUMMED, RollUps, Track, sums_in
from aforo_collector.store.sqlite import FILE_NAME, Database
from hypothesis import given
from hypothesis import strategies as st

from .engine import Engine, body
from .readings import chat, engine, tool
from .running import Start
from .test_analytics import histories, properties
from .test_intake_properties import roll_ups

amounts = st.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent, CONTEXT),
    st.integers(-(10**9), 10**9),
    st.integers(-20, 8),
)


@given(st.data())
@properties
def test_a_store_that_nobody_damaged_is_as_it_must_be(data: st.DataObject) -> None:
    """After corrections, late spans, prices that came late, restarts and lost transactions nothing is found."""
    with engine() as made, pytest.MonkeyPatch.context() as patch:
        small_segments(patch)
        data.draw(histories(made))
        kept = roll_ups(made)
        assert check(made.database) == []
        rebuild_derived(made.database)
        assert roll_ups(made) == kept


@given(st.data())
@properties
def test_damage_is_found_and_mended(data: st.DataObject) -> None:
    """A roll-up or posting list that is changed, lost or made up is told, and rebuilding puts it right."""
    with engine() as made, pytest.MonkeyPatch.context() as patch:
        small_segments(patch)
        data.draw(histories(made))
        made.send(body([tool(99, trace=7, aforo__customer__id="acme")]))
        kept = roll_ups(made)
        table, period = data.draw(st.sampled_from(sorted(TABLES.items())))
        column = data.draw(st.sampled_from(SUMMED))
        rows = made.query(
            f"SELECT payer_no, {period}, kind, units, metric_no, label_no FROM {table} WHERE events > 0"
        )
        row = data.draw(st.sampled_from(rows))
        where = f"(payer_no, {period}, kind, units, metric_no, label_no) = ({', '.join(map(str, row))})"
        where += " AND events > 0"
        rest = ", ".join((*KEYS[2:], *SUMMED, "rest"))
        damage = data.draw(st.sampled_from((
            f"UPDATE {table} SET {column} = {column} + 1 WHERE {where}",
            f"UPDATE {table} SET rest = '0 1E-30 0' WHERE {where}",
            f"DELETE FROM {table} WHERE {where}",
            f"INSERT INTO {table} SELECT payer_no, {period} + 999, {rest} FROM {table} WHERE {where}",
        )))  # fmt: skip
        made.query(damage)
        assert {finding.check for finding in check(made.database)} == {"roll-ups"}
        rebuild_derived(made.database)
        assert check(made.database) == []
        assert roll_ups(made) == kept


def test_lost_postings_and_books_that_do_not_balance_are_found(tmp_path: Path) -> None:
    """Posting lists are mended by a rebuild, books are not: nothing else knows what came in."""
    with pytest.MonkeyPatch.context() as patch:
        small_segments(patch)
        made = Engine(tmp_path)
        for number in range(1, 12):
            made.send(body([chat(number, aforo__customer__id=f"c-{number % 2}")]))
        assert check(made.database) == []
        made.query("DELETE FROM event_segments WHERE segment = 1 AND customer_no = 1")
        made.query("UPDATE intake SET received = received + 1")
        assert [finding.check for finding in check(made.database)] == ["books", "posting lists"]
        rebuild_derived(made.database)
        assert [finding.check for finding in check(made.database)] == ["books"]
        made.database.close()


def small_segments(patch: pytest.MonkeyPatch) -> None:
    """Seal posting lists after four events."""
    patch.setattr(event_rows, "SEGMENT_EVENTS", 4)
    patch.setattr(posting_count, "SEGMENT_EVENTS", 4)


def empty_tables() -> sqlite3.Connection:
    """A database with roll-ups of nothing."""
    database = sqlite3.connect(":memory:")
    for table, period in TABLES.items():
        columns = ", ".join((*KEYS[:1], period, *KEYS[2:]))
        database.execute(
            f"CREATE TABLE {table} ({columns}, {', '.join(SUMMED)}, rest, PRIMARY KEY ({columns}))"
        )
    return database


small = st.sampled_from([Decimal(1), Decimal("2.5"), Decimal("1e-13"), Decimal("3e-15")])


@given(st.lists(st.tuples(st.integers(0, 2), small, st.none() | small), min_size=1, max_size=8))
@properties
def test_usage_adds_up_whichever_way_it_is_folded(
    bookings: list[tuple[int, Decimal, Decimal | None]],
) -> None:
    """By one track or another of the same key, or one by one: what a transaction folds is one sum."""
    database = empty_tables()
    books = RollUps(database)
    tracks = [Track(1, (int(Kind.USAGE), 1, 0), (0, 0, 0, 0, 1), 1) for _ in range(2)]
    for way, quantity, revenue in bookings:
        if way < len(tracks):
            books.fold_usage(tracks[way], 30, quantity, revenue)
        else:
            books.fold(tracks[0].key(30), Occurrence(Kind.USAGE, quantity=quantity, revenue=revenue))
    books.flush()
    for table in TABLES:
        [row] = database.execute(f"SELECT * FROM {table}").fetchall()
        sums = sums_in(row[len(KEYS) :])
        assert (sums[0], sums[-3], sums[-1]) == (
            len(bookings),
            sum(quantity for _, quantity, _ in bookings),
            sum(revenue or 0 for *_, revenue in bookings),
        )
    database.close()


@given(st.lists(st.tuples(st.booleans(), amounts, amounts), min_size=1, max_size=8))
@properties
def test_no_digit_of_an_amount_is_lost(bookings: list[tuple[bool, Decimal, Decimal]]) -> None:
    """Amounts of any size and scale add up exactly, over any number of transactions, and cancel out."""
    database = empty_tables()
    books = RollUps(database)
    key = (1, 30, int(Kind.USAGE), 0, 1, 0, 0, 0)
    for ends, quantity, cost in bookings:
        books.fold(key, Occurrence(Kind.USAGE, quantity=quantity, cost=cost))
        if ends:
            books.flush()
    books.flush()
    for table in TABLES:
        row = database.execute(f"SELECT * FROM {table}").fetchone()
        expected = [Decimal(0), Decimal(0)]
        for _, *found in bookings:
            expected = list(map(CONTEXT.add, expected, found))
        assert sums_in(row[len(KEYS) :])[-3:-1] == expected
    for _, quantity, cost in bookings:
        books.fold(key, Occurrence(Kind.USAGE, quantity=quantity, cost=cost), -1)
    books.flush()
    assert not any(sums_in(database.execute("SELECT * FROM usage_daily").fetchone()[len(KEYS) :]))
    database.close()


def test_a_file_of_an_earlier_version_gets_its_roll_ups() -> None:
    """Roll-ups that are due are counted from the events when the file is opened, once."""
    with engine() as made:
        made.send(body([chat(1, aforo__customer__id="acme"), tool(2, aforo__customer__id="acme")]))
        kept = roll_ups(made)
        for table in TABLES:
            made.query(f"DELETE FROM {table}")
        made.query("INSERT INTO counters VALUES (?, 1)", DUE)
        made.restart()
        assert roll_ups(made) == kept
        assert made.query("SELECT * FROM counters WHERE name = ?", DUE) == []


def test_check_says_how_a_folder_is(start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`aforo db check` exits with 0, 1 after damage, 3 without a database, 4 while a collector runs."""
    folder = tmp_path / "data"
    assert db.main(["check", "--data", str(tmp_path)]) == 3
    running = start("--dev")
    assert db.main(["check", "--data", str(folder)]) == 4
    running.stop()
    made = Engine(folder)
    made.send(body([chat(1, aforo__customer__id="acme")]))
    made.database.close()
    assert db.main(["check", "--data", str(folder)]) == 0
    damaged = sqlite3.connect(folder / FILE_NAME)
    damaged.execute("UPDATE usage_daily SET input = input + 1")
    damaged.commit()
    damaged.close()
    assert db.main(["check", "--data", str(folder)]) == 1
    assert "usage_daily" in capsys.readouterr().out
    assert db.main(["check", "--data", str(folder), "--rebuild", "--format", "json"]) == 0
    assert capsys.readouterr().out == "[]\n"
    Database(folder).close()
