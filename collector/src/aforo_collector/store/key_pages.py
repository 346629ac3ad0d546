"""How an index of keys lies in its tables: numbers of regions and pages, and finding a key on a page.

Keys are digests of 16 bytes, spread evenly: the first bits of a key say in which region of a run it lies and
on which page, so that no tree is needed above the pages. A record is a key and its value.
"""

from __future__ import annotations

import sqlite3
from hashlib import blake2b

KEY_SIZE_BYTES = 16
FAN_BITS = 2
FAN = 1 << FAN_BITS
"""How many runs of one level become one of the next; a run of level n has 4**n regions."""
PAGE_BITS = 6
PAGES = 1 << PAGE_BITS
"""Pages of a region."""

_NUMBER_BITS = 40
_NUMBERS = (1 << _NUMBER_BITS) - 1


def tables(name: str) -> str:
    """The SQL that makes the tables of an empty index, for a step of the schema."""
    return f"""
CREATE TABLE {name}_fresh (flush_no INTEGER PRIMARY KEY, records BLOB NOT NULL);
CREATE TABLE {name}_runs (run_no INTEGER PRIMARY KEY, level INTEGER NOT NULL, into_no INTEGER NOT NULL);
CREATE TABLE {name}_filters (region_no INTEGER PRIMARY KEY, bits BLOB NOT NULL);
CREATE TABLE {name}_pages (page_no INTEGER PRIMARY KEY, records BLOB NOT NULL);
"""


def key_of(*parts: bytes) -> bytes:
    """The key of a sequence of parts; no other sequence has it, as far as 128 bits can tell."""
    framed = b"".join(b"%d:%b" % (len(part), part) for part in parts)
    return blake2b(framed, digest_size=KEY_SIZE_BYTES).digest()


def numbered(run_no: int, place: int) -> int:
    """The number that a region or a page of a run has in its table."""
    return run_no << _NUMBER_BITS | place


def place_of(number: int) -> tuple[int, int]:
    """(run number, place in it) of a region or a page."""
    return number >> _NUMBER_BITS, number & _NUMBERS


def page_no(run_no: int, level: int, key: bytes) -> int:
    """The number of the page of a run on which a key stands, if it is in that run."""
    return numbered(run_no, int.from_bytes(key[:8]) >> region_shift(level) - PAGE_BITS)


def region_shift(level: int) -> int:
    """How far to shift the first 64 bits of a key to get its region in a run of a level."""
    return 64 - FAN_BITS * level


class Pages:
    """Finds keys on the pages of an index, on any connection."""

    def __init__(self, connection: sqlite3.Connection, name: str, value_size_bytes: int) -> None:
        self._db = connection
        self._name = name
        self._size_bytes = KEY_SIZE_BYTES + value_size_bytes

    def find(self, run_no: int, level: int, key: bytes) -> bytes | None:
        """The value of a key in a run."""
        records = self._records(page_no(run_no, level, key))
        return self.within(records, key)

    def replace(self, run_no: int, level: int, key: bytes, value: bytes) -> None:
        """Give a key another value if it is in a run."""
        number = page_no(run_no, level, key)
        records = self.replaced(self._records(number), key, value)
        if records is not None:
            self._db.execute(
                f"UPDATE {self._name}_pages SET records = ? WHERE page_no = ?", (records, number)
            )

    def _records(self, number: int) -> bytes:
        """The records of a page; none where the page has gone to another run, or has not come yet."""
        row = self._db.execute(
            f"SELECT records FROM {self._name}_pages WHERE page_no = ?", (number,)
        ).fetchone()
        return row[0] if row is not None else b""

    def within(self, records: bytes, key: bytes) -> bytes | None:
        """The value of a key among records."""
        at = self._place(records, key)
        return None if at is None else records[at + KEY_SIZE_BYTES : at + self._size_bytes]

    def replaced(self, records: bytes, key: bytes, value: bytes) -> bytes | None:
        """The records with another value for a key; None if they do not have it."""
        at = self._place(records, key)
        if at is None:
            return None
        return records[: at + KEY_SIZE_BYTES] + value + records[at + self._size_bytes :]

    def _place(self, records: bytes, key: bytes) -> int | None:
        """Where the record of a key begins; its bytes may also stand in a value, or across two records."""
        at = records.find(key)
        while at % self._size_bytes:
            if at < 0:
                return None
            at = records.find(key, at + 1)
        return at
