"""`aforo db check`: whether a stopped collector's folder is as it must be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aforo_collector.settings import DATA_FOLDER

from .exits import CONFLICT, FAILED, NOT_FOUND, OK, Failure, run
from .printing import formatted, print_list

if TYPE_CHECKING:
    from aforo_collector.store.sqlite import Database


def main(argv: list[str]) -> int:
    """Look after the data folder of a stopped collector: check."""
    return run(db, "db", argv)


@click.group(help=main.__doc__)
def db() -> None:
    """Look after a data folder."""


@db.command()
@click.option(
    "--data", envvar="AFORO_DATA", default=str(DATA_FOLDER), show_default=True, metavar="DIR",
    help="Folder of the database. [AFORO_DATA]",
)  # fmt: skip
@click.option("--rebuild", is_flag=True, help="First count roll-ups and posting lists anew from the events.")
@formatted
def check(data: str, rebuild: bool, shape: str) -> int:
    """Sums, posting lists and values are those of the usage events, the books balance; exits with 1 if not."""
    from aforo_collector.service import checking

    with _opened(Path(data).expanduser()) as database:
        if rebuild:
            checking.rebuild_derived(database)
            print("roll-ups and posting lists were counted anew from the usage events", file=sys.stderr)
        found = checking.check(database)
    if found or shape != "table":
        print_list([finding._asdict() for finding in found], shape, ("check", "detail"))
    if found:
        return FAILED
    print("roll-ups, posting lists and values equal the usage events; the books balance", file=sys.stderr)
    return OK


@contextmanager
def _opened(folder: Path) -> Iterator[Database]:
    from aforo_collector.store.folder_lock import FolderInUse, folder_lock
    from aforo_collector.store.sqlite import FILE_NAME, Database, StoreError

    if not (folder / FILE_NAME).is_file():
        raise Failure(NOT_FOUND, f"there is no {FILE_NAME} in {folder}; give the collector's --data folder")
    try:
        with folder_lock(folder):
            database = Database(folder)
            try:
                yield database
            finally:
                database.close()
    except StoreError as error:
        raise Failure(CONFLICT if isinstance(error, FolderInUse) else FAILED, str(error)) from None
