"""A file of any earlier version of the schema is brought to today's when it is opened."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from aforo_collector.store.sqlite import FILE_NAME, Database, StoreError
from aforo_collector.store.sqlite_schema import STEPS


def schema(folder: Path) -> list[tuple[str, ...]]:
    """Everything that a file consists of, once a collector has opened it."""
    database = Database(folder)
    try:
        return database.write.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()
    finally:
        database.close()


@pytest.mark.parametrize("version", range(1, len(STEPS)))
def test_an_older_file_becomes_like_a_new_one(tmp_path: Path, version: int) -> None:
    """What an earlier version wrote stays, and the tables are those of a new file."""
    old = sqlite3.connect(tmp_path / FILE_NAME)
    old.executescript(" ".join(STEPS[:version]) + f"PRAGMA user_version = {version};")
    old.execute("INSERT INTO tenants (tenant_id) VALUES ('acme')")
    old.commit()
    old.close()

    assert schema(tmp_path) == schema(tmp_path / "new")
    database = Database(tmp_path)
    assert database.write.execute("SELECT tenant_id FROM tenants").fetchall() == [("acme",)]
    database.close()


def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    """A program that does not know the schema says so and changes nothing."""
    Database(tmp_path).close()
    later = sqlite3.connect(tmp_path / FILE_NAME)
    later.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    later.close()
    before = (tmp_path / FILE_NAME).read_bytes()

    with pytest.raises(StoreError, match="Nothing was changed"):
        Database(tmp_path)

    assert (tmp_path / FILE_NAME).read_bytes() == before
