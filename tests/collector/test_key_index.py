"""The index of random keys holds what was committed, no more and no less, whatever happens between."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from aforo_collector.store.key_index import KeyIndex, KeyReads
from aforo_collector.store.key_pages import FAN, key_of, tables
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

REGION_KEYS = 8
NUMBERS = st.integers(0, 2_000)


def key(number: int) -> bytes:
    """Keys of every kind: spread, alike to every filter, and alike in where they lie."""
    spread = key_of(b"%d" % number)
    tail = b"same for filters"[:8]
    return (spread, spread[:8] + tail, b"\xff" * 14 + number.to_bytes(2))[number % 3]


def value(number: int) -> bytes:
    """A value in which another key may stand, as if it began a record."""
    return key(number + 3)


def connect(folder: str) -> sqlite3.Connection:
    """A connection like those of a collector."""
    return sqlite3.connect(Path(folder) / "keys.db", isolation_level=None, check_same_thread=False)


class Commits(RuleBasedStateMachine):
    """An index beside a dict, through commits, rollbacks, crashes and openings, with a reader looking on."""

    @initialize()
    def create(self) -> None:
        """An empty index."""
        self.folder = tempfile.TemporaryDirectory()
        self.connection = connect(self.folder.name)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.executescript(tables("keys"))
        self.reader = connect(self.folder.name)
        self.committed: dict[bytes, bytes] = {}
        self.seen: dict[bytes, bytes] | None = None
        self.open()

    def open(self) -> None:
        """The index as a collector that starts finds it."""
        self.index = KeyIndex(self.connection, "keys", 16, REGION_KEYS)
        self.connection.execute("BEGIN IMMEDIATE")
        self.known = dict(self.committed)

    def put(self, numbers: set[int]) -> None:
        """Claim keys as an intake does."""
        found = self.index.find_many([key(number) for number in numbers])
        assert found == {key(n): self.known[key(n)] for n in numbers if key(n) in self.known}
        new = {key(number): value(number) for number in numbers if key(number) not in found}
        self.index.put_many(new)
        self.known |= new

    @rule(numbers=st.sets(NUMBERS, max_size=40))
    def put_any(self, numbers: set[int]) -> None:
        """Known and unknown keys together."""
        self.put(numbers)

    @rule(first=NUMBERS, count=st.integers(1, 300))
    def put_many(self, first: int, count: int) -> None:
        """Many keys in one transaction."""
        self.put(set(range(first, first + count)))

    @precondition(lambda self: self.known)
    @rule(choice=st.integers(0, 10_000), number=NUMBERS)
    def replace(self, choice: int, number: int) -> None:
        """A known key gets another value."""
        chosen = list(self.known)[choice % len(self.known)]
        self.index.replace(chosen, value(number))
        self.known[chosen] = value(number)

    @rule()
    def commit(self) -> None:
        """What was put is there for everybody."""
        self.index.flush()
        self.connection.execute("COMMIT")
        self.committed = dict(self.known)
        self.connection.execute("BEGIN IMMEDIATE")

    @rule(is_flushed=st.booleans())
    def roll_back(self, is_flushed: bool) -> None:
        """What was put in this transaction never was, even if only the commit failed."""
        if is_flushed:
            self.index.flush()
        self.connection.execute("ROLLBACK")
        self.index.forget()
        self.known = dict(self.committed)
        self.connection.execute("BEGIN IMMEDIATE")

    @rule(is_flushed=st.booleans())
    def crash(self, is_flushed: bool) -> None:
        """A process that ends within a transaction leaves what was committed."""
        if is_flushed:
            self.index.flush()
        self.connection.close()
        self.connection = connect(self.folder.name)
        self.open()

    @precondition(lambda self: self.seen is None)
    @rule()
    def begin_to_read(self) -> None:
        """A reader's moment."""
        self.reader.execute("BEGIN")
        self.reader.execute("SELECT count(*) FROM keys_fresh").fetchone()
        self.seen = dict(self.committed)

    @precondition(lambda self: self.seen is not None)
    @rule()
    def end_reading(self) -> None:
        """The reader has read enough."""
        self.reader.execute("ROLLBACK")
        self.seen = None

    @precondition(lambda self: self.seen is not None)
    @rule(numbers=st.sets(NUMBERS, max_size=20))
    def read(self, numbers: set[int]) -> None:
        """A reader sees its moment and nothing later."""
        reads = KeyReads(self.reader, "keys", 16)
        for number in numbers:
            assert reads.find(key(number)) == (self.seen or {}).get(key(number))

    @invariant()
    def holds_what_is_known(self) -> None:
        """Some keys, known or not, at every step."""
        numbers = random.Random(len(self.known)).sample(range(2_300), 20)
        found = self.index.find_many([key(number) for number in numbers])
        assert found == {key(n): self.known[key(n)] for n in numbers if key(n) in self.known}

    def teardown(self) -> None:
        """Every key, last of all."""
        every = [key(number) for number in range(2_300)]
        assert self.index.find_many(every) == self.known
        self.connection.close()
        self.reader.close()
        self.folder.cleanup()


TestCommits = Commits.TestCase
TestCommits.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("room_pages", range(0, 60, 15))
def test_a_flush_that_fails_half_way_leaves_nothing_wrong_in_memory(tmp_path: Path, room_pages: int) -> None:
    """What is known when a full file has cut a flush off is what was committed before it."""
    connection = connect(str(tmp_path))
    connection.executescript(tables("keys"))
    index = KeyIndex(connection, "keys", 16, REGION_KEYS)
    items = {key(number): value(number) for number in range(1_000)}
    names = list(items)
    for at in range(0, 100, 5):
        connection.execute("BEGIN")
        index.put_many({name: items[name] for name in names[at : at + 5]})
        index.flush()
        connection.execute("COMMIT")

    connection.execute("BEGIN")
    index.put_many({name: items[name] for name in names[100:]})
    [(pages,)] = connection.execute("PRAGMA page_count")
    connection.execute(f"PRAGMA max_page_count = {pages + room_pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        index.flush()
    assert not connection.in_transaction  # SQLite has rolled back itself
    index.forget()
    assert index.find_many(names) == {name: items[name] for name in names[:100]}
    connection.close()


def test_no_flush_does_more_than_its_share(tmp_path: Path) -> None:
    """The index stays in good shape, and no single flush writes a large part of it."""
    connection = connect(str(tmp_path))
    connection.executescript(tables("keys"))
    index = KeyIndex(connection, "keys", 8, 64)
    most = 0
    for batch in range(3_000):
        connection.execute("BEGIN")
        before = connection.total_changes
        index.put_many({key_of(b"%d" % batch, b"%d" % each): b"12345678" for each in range(8)})
        index.flush()
        most = max(most, connection.total_changes - before)
        connection.execute("COMMIT")

    rows = connection.execute("SELECT level, count(*) FROM keys_runs GROUP BY level").fetchall()
    assert [level for level, _ in rows] == list(range(len(rows)))
    assert len(rows) > 3
    assert all(count <= 2 * FAN for _, count in rows)
    pages = connection.execute("SELECT count(*) FROM keys_pages").fetchone()[0]
    assert most * 20 < pages
    connection.close()


_WRITES_FOR_EVER = """
import sqlite3, sys
import pytest
from aforo_collector.store.key_index import KeyIndex
from aforo_collector.store.key_pages import key_of
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
index = KeyIndex(connection, "keys", 8, 64)
for batch in range(int(sys.argv[2]), 1 << 40):
    connection.execute("BEGIN IMMEDIATE")
    index.put_many({key_of(b"%d" % (batch * 50 + each)): batch.to_bytes(8) for each in range(50)})
    index.flush()
    connection.execute("COMMIT")
    print(batch, flush=True)
"""


def test_a_killed_process_loses_nothing_that_it_committed(tmp_path: Path) -> None:
    """After each of several kills every acknowledged batch is there, and one that is not is absent as a whole."""
    path = tmp_path / "keys.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.executescript(tables("keys"))
    source = random.Random(4)
    batches = 0
    for _ in range(5):
        command = [sys.executable, "-c", _WRITES_FOR_EVER, str(path), str(batches)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writing:
            assert writing.stdout is not None
            for _ in range(source.randrange(20, 60)):
                acknowledged = int(writing.stdout.readline())
            writing.kill()
            acknowledged = max([acknowledged, *map(int, writing.stdout.read().split())])
        index = KeyIndex(connection, "keys", 8, 64)
        keys = [key_of(b"%d" % number) for number in range((acknowledged + 2) * 50)]
        found = index.find_many(keys)
        batches = int.from_bytes(found[keys[-1]]) + 1 if keys[-1] in found else acknowledged + 1
        assert found == {key: (number // 50).to_bytes(8) for number, key in enumerate(keys[: batches * 50])}
    connection.close()
