"""What a new key costs as a file grows: the index of random keys, a B-tree of them, and a B-tree of ordered ones.

All three grow side by side in one run, in commits of 1,000 keys with values of 24 bytes, in files set up as a
collector's; each line is the processor time of a key (and the wall time) in that stretch. Compare the columns,
and the last line of a column with its first:

    python tests/bench/bench_keys.py [--grow-to 20000000] [--each 1000000] [--folder DIR]
"""

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aforo_collector.store.key_index import KeyIndex
from aforo_collector.store.key_pages import tables
from aforo_collector.store.sqlite import Database

BATCH = 1_000
VALUE = b"event number and digest."


class Growing:
    """A file that takes in keys; `put` writes a batch of new ones inside a transaction."""

    def __init__(self, name: str, folder: str, schema: str) -> None:
        self.name = name
        self.database = Database(Path(folder) / name)
        self.connection = self.database.write
        self.connection.executescript(schema)
        self.put: Callable[[Sequence[bytes]], object] = self._insert

    def _insert(self, keys: Sequence[bytes]) -> None:
        rows = [(key, VALUE) for key in keys]
        self.connection.executemany("INSERT INTO plain VALUES (?, ?) ON CONFLICT DO NOTHING", rows)

    def grow(self, batches: list[list[bytes]]) -> str:
        """Take in batches; what a key cost."""
        cpu_s, wall_s, worst_s = time.process_time(), time.perf_counter(), 0.0
        for keys in batches:
            begun_s = time.perf_counter()
            if self.database.checkpoints.log_is_long:
                self.database.checkpoints.help(self.connection)
            self.connection.execute("BEGIN IMMEDIATE")
            self.put(keys)
            self.connection.execute("COMMIT")
            worst_s = max(worst_s, time.perf_counter() - begun_s)
        count = len(batches) * BATCH
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
        return f"{cpu_s / count * 1e6:6.2f} ({wall_s / count * 1e6:5.2f}) {worst_s * 1e3:5.0f}"


def random_keys(source: random.Random) -> list[bytes]:
    """A batch of digests."""
    drawn = source.randbytes(16 * BATCH)
    return [drawn[at : at + 16] for at in range(0, len(drawn), 16)]


def ordered_keys(first: int) -> list[bytes]:
    """A batch of keys that begin with a time."""
    return [number.to_bytes(16) for number in range(first, first + BATCH)]


def main() -> None:
    """Grow and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--grow-to", type=int, default=20_000_000)
    parser.add_argument("--each", type=int, default=1_000_000)
    parser.add_argument("--folder", help="where the files are made; the temporary folder if not given")
    arguments = parser.parse_args()
    plain = "CREATE TABLE plain (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        index = Growing("index", folder, tables("keys"))
        tree, ordered = Growing("tree", folder, plain), Growing("ordered", folder, plain)
        keys = KeyIndex(index.connection, "keys", len(VALUE))

        def claim(batch: Sequence[bytes]) -> None:
            found = keys.find_many(batch)
            keys.put_many({key: VALUE for key in batch if key not in found})
            keys.flush()

        index.put = claim
        source = random.Random(1)
        print(
            "µs of CPU a key (wall), slowest commit in ms\n     keys   index             tree              ordered"
        )
        for done in range(0, arguments.grow_to, arguments.each):
            batches = [random_keys(source) for _ in range(arguments.each // BATCH)]
            by_time = [ordered_keys(done + at) for at in range(0, arguments.each, BATCH)]
            figures = [index.grow(batches), tree.grow(batches), ordered.grow(by_time)]
            print(f"{done + arguments.each:>10,}", "  ".join(figures), flush=True)
        known = batches[-1] + batches[0]
        begun_s = time.process_time()
        assert len(keys.find_many(known)) == len(known)
        print(f"a key that is known: {(time.process_time() - begun_s) / len(known) * 1e6:.2f} µs")
        begun_s = time.process_time()
        KeyIndex(index.connection, "keys", len(VALUE))
        print(f"opening the index: {(time.process_time() - begun_s) * 1e3:.0f} ms")
        for each in (index, tree, ordered):
            each.database.close()
            print(f"{each.name}: {each.database.path.stat().st_size / arguments.grow_to:.0f} bytes a key")
        print(f"resident at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB")


if __name__ == "__main__":
    main()
