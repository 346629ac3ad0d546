"""`aforo spool`: look into a spool folder, and deliver what dead processes left there."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from aforo_sdk import contents, segments
from aforo_sdk.cli import NOT_FOUND, OK, UNAVAILABLE
from aforo_sdk.delivery import POISON_FOLDER, Delivery
from aforo_sdk.settings import resolve
from aforo_sdk.transport import Transport


def main(arguments: Sequence[str]) -> int:
    """List a spool folder or deliver what stands in it.

    `list` shows segments; `send` delivers those that no living process holds, under the endpoint and key
    given (or in force), whosever they were, and removes what was acknowledged. Exit code 0 when everything is
    delivered, 5 when something is left, 3 when there is no such folder.
    """
    parser = argparse.ArgumentParser("aforo spool", description=main.__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in (
        ("list", "show the segments of a folder"),
        ("send", "deliver the segments of a folder"),
    ):
        one = verbs.add_parser(verb, help=text, description=text)
        one.add_argument("folder", nargs="?", metavar="DIR", help="default: the spool folder in force")
        one.add_argument("--format", choices=("table", "json"), default="table")
        if verb == "send":
            one.add_argument("--endpoint", help="collector; default: the one in force")
            one.add_argument("--api-key", help="key that pays; default: the one in force")
    chosen = parser.parse_args(arguments)
    given = {"endpoint": chosen.endpoint, "api_key": chosen.api_key} if chosen.verb == "send" else {}
    settings = resolve(given, os.environ)
    folder = Path(chosen.folder) if chosen.folder else settings.spool_dir
    if not folder.is_dir():
        print(f"aforo: there is no folder {folder}. Nothing was done.", file=sys.stderr)
        return NOT_FOUND
    if chosen.verb == "list":
        return _list(folder, chosen.format)
    return _send(folder, Delivery(Transport(settings.destination)), chosen.format)


def _list(folder: Path, form: str) -> int:
    rows = contents.rows(folder)
    if form == "json":
        found = [
            {
                "segment": row.path.name,
                "fingerprint": row.fingerprint,
                "inUse": row.in_use,
                "spans": row.spans,
                "bytes": row.size_bytes,
            }
            for row in rows
        ]
        print(json.dumps(found, indent=2))
        return OK
    print(f"{'segment':<64} {'in use':<7}{'spans':>9}{'bytes':>12}")
    for row in rows:
        print(f"{row.path.name:<64} {'yes' if row.in_use else 'no':<7}{row.spans:>9}{row.size_bytes:>12}")
    print(f"{len(contents.poison(folder))} set aside in {folder / POISON_FOLDER}", file=sys.stderr)
    return OK


def _send(folder: Path, delivery: Delivery, form: str) -> int:
    for of_writer in segments.listing(folder).values():
        with segments.adopted(of_writer) as orphans:
            for orphan in orphans:
                if not _deliver(orphan.path, delivery):
                    break
        if delivery.failure is not None:
            break
    delivery.transport.close()
    left = sum(row.spans for row in contents.rows(folder))
    if form == "json":
        print(json.dumps({"delivered": delivery.accepted, "setAside": delivery.set_aside, "left": left}))
    else:
        print(f"{delivery.accepted} delivered, {delivery.set_aside} set aside, {left} left")
    if delivery.failure is not None:
        print(f"aforo: the collector did not take them: {delivery.failure.reason}", file=sys.stderr)
    elif left:
        print("aforo: what is left is held by a living process, or was refused again.", file=sys.stderr)
    return UNAVAILABLE if left or delivery.set_aside or delivery.failure else OK


def _deliver(path: Path, delivery: Delivery) -> bool:
    """Deliver one segment and remove it. A span of the poison folder that is refused again stays where it
    is.
    """
    refused_before = delivery.set_aside
    with segments.Reader(path) as reader:
        done = delivery.send(reader, reader.first, reader.size_bytes, lambda _: None)
    again = path.parent.name == POISON_FOLDER and delivery.set_aside > refused_before
    if done and not again:
        path.unlink()
    return done
