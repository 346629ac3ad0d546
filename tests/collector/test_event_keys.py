"""Idempotency keys are known from their commit on, for ever, wherever they are kept."""

from __future__ import annotations

import sqlite3
import tempfile
from hashlib import blake2b
from pathlib import Path

from aforo_collector.store.event_keys import NAME, ORDERED_KEYS_MIN, STARTS_MAX, KeyRows, event_no_of
from aforo_collector.store.sqlite import FILE_NAME, Database
from aforo_collector.store.sqlite_schema import STEPS, take_steps
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

TENANTS = st.integers(1, 2)
FIRSTS = st.integers(0, 600)
Stored = tuple[bytes, int]


def digest(text: str) -> bytes:
    """The hash of what came under a key."""
    return blake2b(text.encode(), digest_size=16).digest()


def ordered(first: int, count: int) -> list[str]:
    """Keys as a counter gives them."""
    return [f"evt-{number:06d}" for number in range(first, first + count)]


def scattered(first: int, count: int) -> list[str]:
    """Keys as a generator of random numbers gives them, some of them among those of the counter."""
    names = [digest(str(number)).hex() for number in range(first, first + count)]
    return [f"evt-{name}" if name < "8" else name for name in names]


def in_tree(connection: sqlite3.Connection) -> int:
    """How many keys stand in the tree."""
    [(count,)] = connection.execute("SELECT count(*) FROM event_keys")
    return int(count)


class Keys(RuleBasedStateMachine):
    """Keys of two tenants beside a dict, through commits, rollbacks and restarts, with readers looking on."""

    @initialize()
    def create(self) -> None:
        """A new file."""
        self.folder = tempfile.TemporaryDirectory()
        self.committed: dict[tuple[int, str], Stored] = {}
        self.open()

    def open(self) -> None:
        """The keys as a collector that starts finds them."""
        self.database = Database(Path(self.folder.name))
        self.keys = KeyRows(self.database.write)
        self.begin()

    def begin(self) -> None:
        """Start a transaction."""
        self.database.write.execute("BEGIN IMMEDIATE")
        self.known = dict(self.committed)

    @rule(
        tenant_no=TENANTS, first=FIRSTS, count=st.integers(1, 200), is_ordered=st.booleans(),
        is_looked_for=st.booleans(), event_no=st.integers(-1, 2**62),
    )  # fmt: skip
    def put(
        self, tenant_no: int, first: int, count: int, is_ordered: bool, is_looked_for: bool, event_no: int
    ) -> None:
        """What comes under some keys, known ones among them, is what they stand for from now on."""
        keys = (ordered if is_ordered else scattered)(first, count)
        if is_looked_for:
            self.look_for(tenant_no, keys)
        self.keys.put(tenant_no, [(key, digest(f"{key} {event_no}"), event_no) for key in keys])
        self.known |= {(tenant_no, key): (digest(f"{key} {event_no}"), event_no) for key in keys}

    @rule(tenant_no=TENANTS, first=FIRSTS, is_ordered=st.booleans(), event_no=st.integers(1, 2**62))
    def move(self, tenant_no: int, first: int, is_ordered: bool, event_no: int) -> None:
        """A known key names another event and keeps what it stands for; of an unknown one nobody learns."""
        [key] = (ordered if is_ordered else scattered)(first, 1)
        self.keys.move(tenant_no, key, event_no)
        if (tenant_no, key) in self.known:
            self.known[tenant_no, key] = self.known[tenant_no, key][0], event_no

    @rule(is_flushed=st.booleans())
    def roll_back(self, is_flushed: bool) -> None:
        """What was put in this transaction never was, even if only the commit failed."""
        if is_flushed:
            self.keys.flush()
        self.database.write.execute("ROLLBACK")
        self.keys.forget()
        self.begin()

    @rule(is_restarted=st.booleans())
    def commit(self, is_restarted: bool) -> None:
        """What was put is there for everybody, also after a restart."""
        self.keys.flush()
        self.database.write.execute("COMMIT")
        self.committed = self.known
        if is_restarted:
            self.database.close()
            self.open()
        else:
            self.begin()

    def look_for(self, tenant_no: int, keys: list[str]) -> None:
        """Known keys are found with what they stand for, and no others."""
        expected = {key: self.known[tenant_no, key] for key in keys if (tenant_no, key) in self.known}
        assert self.keys.find(tenant_no, keys) == expected

    @invariant()
    def are_known(self) -> None:
        """Some keys, for the writer and for readers, who see what is committed."""
        at = len(self.known) * 7 % 500
        with self.database.reading() as connection:
            for tenant_no in (1, 2):
                self.look_for(tenant_no, ordered(at, 150) + scattered(at, 150))
                for key in ordered(at, 3) + scattered(at, 3):
                    expected = self.committed.get((tenant_no, key), (b"", 0))[1]
                    assert event_no_of(connection, tenant_no, key) == expected

    def teardown(self) -> None:
        """Every key, last of all."""
        for tenant_no in (1, 2):
            self.look_for(tenant_no, ordered(0, 900) + scattered(0, 900))
        self.database.close()
        self.folder.cleanup()


TestKeys = Keys.TestCase
TestKeys.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


def test_keys_that_come_in_order_are_kept_in_order(tmp_path: Path) -> None:
    """The tree takes what is written side by side in it, as each of several counters does; the index the rest."""
    database = Database(tmp_path)
    connection = database.write
    keys = KeyRows(connection)

    def taken(tenant_no: int, names: list[str]) -> int:
        """How many of some new keys the tree takes."""
        before = in_tree(connection)
        connection.execute("BEGIN")
        assert not keys.find(tenant_no, names)
        keys.put(tenant_no, [(name, b"." * 16, 1) for name in names])
        keys.flush()
        connection.execute("COMMIT")
        assert len(keys.find(tenant_no, names)) == len(names)
        return in_tree(connection) - before

    assert taken(1, scattered(0, 1000)) == 0
    assert taken(1, sorted(scattered(1000, 500))) == 500  # nothing to stand between yet
    assert taken(1, sorted(scattered(1500, 400))) == 0
    for first in (0, 1000, 100_000):
        assert taken(1, ordered(first, 1000)) == 1000
    assert taken(2, [f"upload:{number}" for number in range(1000, 2000)]) == 1000
    assert taken(1, [f"upload:{number}" for number in range(1000, 2000)]) == 1000
    assert taken(1, ordered(5000, ORDERED_KEYS_MIN - 1)) == 0
    database.close()


def test_keys_may_begin_in_any_number_of_ways(tmp_path: Path) -> None:
    """Beginnings are told apart up to a bound; beyond it, keys are found all the same."""
    database = Database(tmp_path)
    keys = KeyRows(database.write)
    names = [f"{chr(0x4E00 + number * 7_919 % 20_000)}{number}" for number in range(STARTS_MAX + 3_000)]
    for at in range(0, len(names), 2_500):
        database.write.execute("BEGIN")
        keys.put(1, [(name, b"." * 16, 1) for name in names[at : at + 2_500]])
        keys.flush()
        database.write.execute("COMMIT")
        assert len(keys.find(1, names)) == min(at + 2_500, len(names))
    [(starts,)] = database.write.execute("SELECT count(*) FROM scattered_starts")
    assert STARTS_MAX <= starts < len(names)
    assert len(KeyRows(database.write).find(1, names)) == len(names)
    database.close()


def test_keys_of_an_older_file_are_found(tmp_path: Path) -> None:
    """Keys from before there was an index are known, name their events, and can name others."""
    kept = scattered(0, 3000) + ordered(0, 3000)
    old = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    take_steps(old, 0, next(at for at, step in enumerate(STEPS) if isinstance(step, str) and NAME in step))
    rows = [(2, key, digest(key), number) for number, key in enumerate(kept, 1)]
    old.executemany("INSERT INTO event_keys VALUES (?, ?, ?, ?)", rows)
    old.close()

    database = Database(tmp_path)
    keys = KeyRows(database.write)
    database.write.execute("BEGIN")
    assert keys.find(2, kept) == {key: (digest(key), number) for number, key in enumerate(kept, 1)}
    assert keys.find(1, kept) == {}
    keys.move(2, kept[0], 9000)
    new = scattered(3000, 1000)
    keys.put(2, [(key, digest(key), number) for number, key in enumerate(new, 6001)])
    keys.flush()
    database.write.execute("COMMIT")
    assert in_tree(database.write) == len(kept)
    with database.reading() as connection:
        for key, number in [(kept[0], 9000), (kept[1], 2), (kept[-1], 6000), (new[0], 6001)]:
            assert event_no_of(connection, 2, key) == number
            assert event_no_of(connection, 1, key) == 0
    database.close()
