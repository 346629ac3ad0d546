"""The sorted runs of an index of keys: making them, merging them a region at a time, and looking into them.

Four whole runs of a level become one of the next. Region after region of the new run is put together from the
pages of the four, which lose them in the same transaction, so that a key always stands in exactly one place.
Each region has a Bloom filter, written with it and kept in memory: a key whose bits are not all set there is
not in the region, and nothing has to be read to know that.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct

from .key_pages import FAN, FAN_BITS, PAGE_BITS, PAGES, Pages, numbered, place_of, region_shift

FILTER_BITS = 1 << 16
"""Two bytes of a key are a place in a filter; with 5,120 keys, four places err on one absent key in 200."""

_EMPTY = bytes(FILTER_BITS // 8)
_BITS = bytes(0x80 >> bit for bit in range(8))
_ONE = ord("1")
_PROBE = Struct(">QHHHH")


@dataclass(slots=True)
class _Run:
    run_no: int
    level: int
    into_no: int
    """The run that it is being merged into; 0 while it rests."""
    filters: list[bytes]
    """One a region; an empty one where the keys have gone to another run, or have not come yet."""
    filled: int = 0
    """How many regions have come."""

    @property
    def is_whole(self) -> bool:
        return self.filled == len(self.filters)


class KeyRuns:
    """The runs of one index, on the connection that writes."""

    def __init__(
        self, connection: sqlite3.Connection, name: str, pages: Pages, value_size_bytes: int
    ) -> None:
        self._db = connection
        self._name = name
        self._pages = pages
        self._places = Struct(f">8xHHHH{value_size_bytes}x")
        rows = connection.execute(f"SELECT run_no, level, into_no FROM {name}_runs ORDER BY run_no")
        self._runs = {
            run_no: _Run(run_no, level, into_no, [_EMPTY] * FAN**level) for run_no, level, into_no in rows
        }
        for number, bits in connection.execute(
            f"SELECT region_no, bits FROM {name}_filters ORDER BY region_no"
        ):
            run_no, region = place_of(number)
            self._runs[run_no].filters[region] = bits
            self._runs[run_no].filled = region + 1
        self._look()

    def _look(self) -> None:
        """Remember what a look into each run takes."""
        self._looks = [(run.filters, region_shift(run.level), run) for run in self._runs.values()]

    @property
    def merges(self) -> int:
        """How many runs are being put together."""
        return len({run.into_no for run in self._runs.values() if run.into_no})

    def find_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that are in a run."""
        found: dict[bytes, bytes] = {}
        for key, run in self._likely(keys):
            value = self._pages.find(run.run_no, run.level, key)
            if value is not None:
                found[key] = value
        return found

    def replace(self, key: bytes, value: bytes) -> None:
        """Give a key that is in a run another value."""
        for _, run in self._likely([key]):
            self._pages.replace(run.run_no, run.level, key, value)

    def _likely(self, keys: Sequence[bytes]) -> Iterator[tuple[bytes, _Run]]:
        """Where the filters do not rule it out that a key is in a run."""
        looks = self._looks
        for key, (head, w, x, y, z) in zip(keys, _PROBE.iter_unpack(b"".join(keys)), strict=True):
            a, b, c, d = w >> 3, x >> 3, y >> 3, z >> 3
            a_bit, b_bit, c_bit, d_bit = _BITS[w & 7], _BITS[x & 7], _BITS[y & 7], _BITS[z & 7]
            for filters, shift, run in looks:
                bits = filters[head >> shift]
                if bits[a] & a_bit and bits[b] & b_bit and bits[c] & c_bit and bits[d] & d_bit:
                    yield key, run

    def add(self, records: list[bytes]) -> None:
        """Make a run of one region."""
        run = self._new(0)
        self._fill(run, sorted(records))
        self._join(run.level)

    def _new(self, level: int) -> _Run:
        run_no = max(self._runs, default=0) + 1
        self._db.execute(f"INSERT INTO {self._name}_runs VALUES (?, ?, 0)", (run_no, level))
        run = self._runs[run_no] = _Run(run_no, level, 0, [_EMPTY] * FAN**level)
        self._look()
        return run

    def _join(self, level: int) -> None:
        """Begin to merge runs of a level if enough of them rest."""
        resting = [r for r in self._runs.values() if r.level == level and r.is_whole and not r.into_no]
        if len(resting) >= FAN:
            into_no = self._new(level + 1).run_no
            for run in resting[:FAN]:
                run.into_no = into_no
                self._db.execute(
                    f"UPDATE {self._name}_runs SET into_no = ? WHERE run_no = ?", (into_no, run.run_no)
                )

    def merge(self) -> bool:
        """Put together one region, of the smallest runs that are being merged; False if none are."""
        moving = [run for run in self._runs.values() if run.into_no]
        if not moving:
            return False
        into = self._runs[min(moving, key=lambda run: run.level).into_no]
        sources = [run for run in moving if run.into_no == into.run_no]
        region = into.filled
        self._fill(into, sorted(record for run in sources for record in self._take(run, region)))
        if into.filled % FAN == 0:
            for run in sources:
                run.filters[region // FAN] = _EMPTY
                number = numbered(run.run_no, region // FAN)
                self._db.execute(f"DELETE FROM {self._name}_filters WHERE region_no = ?", (number,))
        if into.is_whole:
            for run in sources:
                del self._runs[run.run_no]
                self._db.execute(f"DELETE FROM {self._name}_runs WHERE run_no = ?", (run.run_no,))
            self._look()
            self._join(into.level)
        return True

    def _take(self, run: _Run, region: int) -> list[bytes]:
        """Take the records of a region of the next level out of a run."""
        first = numbered(run.run_no, region << PAGE_BITS - FAN_BITS)
        rows = self._db.execute(
            f"DELETE FROM {self._name}_pages WHERE page_no BETWEEN ? AND ? RETURNING records",
            (first, first + (PAGES >> FAN_BITS) - 1),
        ).fetchall()
        joined, size = b"".join(row[0] for row in rows), self._places.size
        return [joined[at : at + size] for at in range(0, len(joined), size)]

    def _fill(self, run: _Run, records: list[bytes]) -> None:
        """Write the next region of a run from its sorted records: pages and filter."""
        region = run.filled
        shift = region_shift(run.level) - PAGE_BITS
        first = region << PAGE_BITS
        ends = [bisect_left(records, (page << shift).to_bytes(8)) for page in range(first + 1, first + PAGES)]
        self._db.executemany(
            f"INSERT INTO {self._name}_pages VALUES (?, ?)",
            [
                (numbered(run.run_no, first + page), b"".join(records[start:end]))
                for page, (start, end) in enumerate(zip([0, *ends], [*ends, len(records)], strict=True))
            ],
        )
        marks = bytearray(b"0") * FILTER_BITS
        for a, b, c, d in self._places.iter_unpack(b"".join(records)):
            marks[a] = marks[b] = marks[c] = marks[d] = _ONE
        run.filters[region] = bits = int(marks, 2).to_bytes(FILTER_BITS // 8)
        self._db.execute(
            f"INSERT INTO {self._name}_filters VALUES (?, ?)", (numbered(run.run_no, region), bits)
        )
        run.filled += 1
