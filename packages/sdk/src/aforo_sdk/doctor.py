"""`aforo doctor`: what is in force, what it meets here, what waits, and whether the collector answers.

As a command it knows what is installed, and which variables are set. What a running program has switched on
only that program can say: there, call `aforo_sdk.doctor.report()`.
"""

import argparse
import json
import os
from collections.abc import Sequence
from typing import Final

from aforo_sdk import contents, counts, frameworks, neighbours, runtime
from aforo_sdk.cli import OK, UNAVAILABLE
from aforo_sdk.settings import Destination, Settings, resolve

ANSWER_TIMEOUT_S: Final = 3.0
REASONS_MAX: Final = 5
WIDTH_MAX: Final = 48
CELLS: Final = ("value", "version", "from", "meaning")
"""What of an entry stands in the table, in this order."""

Report = dict[str, dict[str, object]]
"""Entries by heading and name; an entry is a value, or several by name."""


def main(arguments: Sequence[str]) -> int:
    """Show settings, frameworks, other instrumentations, the spool, and whether the collector answers.

    Exit code 0 when the collector answers, 5 when it does not.
    """
    parser = argparse.ArgumentParser("aforo doctor", description=main.__doc__)
    parser.add_argument("--format", choices=("table", "json"), default="table")
    chosen = parser.parse_args(arguments)
    found = _report(resolve({}, os.environ), inside=False)
    print(json.dumps(found, indent=2) if chosen.format == "json" else _table(found))
    return OK if found["collector"]["answers"] else UNAVAILABLE


def report() -> Report:
    """Everything that `aforo doctor` says, about the process that calls this: also what it meters right now.

    The headings are `settings`, `collector`, `spool`, `counters of the last week`, `frameworks`,
    `instrumentations`, `environment` and `installed`. Asks the collector for `/livez`, and waits 3 s for it at
    most. Imports no framework.
    """
    return _report(runtime.settings(), inside=True)


def _report(settings: Settings, *, inside: bool) -> Report:
    present = frameworks.installed()
    return {
        "settings": _settings(settings),
        "collector": _collector(settings.destination),
        "spool": _spool(settings),
        "counters of the last week": dict(counts.collected(settings.spool_dir)),
        "frameworks": dict(frameworks.described(present, inside=inside)),
        "instrumentations": dict(neighbours.others(present, inside=inside)),
        "environment": dict(neighbours.variables(os.environ, settings.destination)),
        "installed": {name: one.version for name, one in sorted(present.items()) if name.startswith("aforo")},
    }


def _settings(settings: Settings) -> dict[str, object]:
    key = settings.destination.api_key
    values = {
        "endpoint": settings.destination.base_url,
        "api_key": f"…{key[-4:]}" if key and len(key) > 8 else "set" if key else None,
        "customer_id": settings.identity.customer_id,
        "team_id": settings.identity.team_id,
        "agent_id": settings.identity.agent_id,
        "app_id": settings.identity.app_id,
        "product_type": settings.identity.product_type,
        "spool_dir": str(settings.spool_dir),
        "spool_max_bytes": settings.spool_bytes_max,
        "capture_content": settings.capture_content,
    }
    return {name: {"value": value, "from": settings.origins[name]} for name, value in values.items()}


def _collector(destination: Destination) -> dict[str, object]:
    import requests

    url = f"{destination.base_url}/livez"
    try:
        with requests.Session() as session:
            session.trust_env = not destination.on_loopback
            status = session.get(url, timeout=ANSWER_TIMEOUT_S, allow_redirects=False).status_code
        return {"url": url, "answers": 200 <= status < 300, "detail": f"HTTP {status}"}
    except (requests.RequestException, ValueError) as error:
        return {"url": url, "answers": False, "detail": f"{type(error).__name__}: {error}"}


def _spool(settings: Settings) -> dict[str, object]:
    ours = settings.destination.fingerprint
    rows = contents.rows(settings.spool_dir)
    poison = contents.poison(settings.spool_dir)
    mine = [row for row in rows if row.fingerprint == ours]
    others = [row for row in rows if row.fingerprint != ours and row.spans]
    return {
        "folder": str(settings.spool_dir),
        "writable": os.access(_existing(str(settings.spool_dir)), os.W_OK),
        "waiting_spans": sum(row.spans for row in mine),
        "waiting_bytes": sum(row.size_bytes for row in mine),
        "segments": len(mine),
        "segments_of_other_keys": len(others),
        "spans_of_other_keys": sum(row.spans for row in others),
        "poison": len(poison),
        "poison_reasons": [one.reason for one in poison[:REASONS_MAX] if one.reason],
    }


def _existing(folder: str) -> str:
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    return folder


def _table(found: Report) -> str:
    lines: list[str] = []
    for heading, entries in found.items():
        lines += ["", heading] if lines else [heading]
        rows = [(name, *_cells(value)) for name, value in entries.items()] or [("none",)]
        columns = range(max(len(row) for row in rows) - 1)
        widths = [min(WIDTH_MAX, max(len(row[column]) for row in rows)) for column in columns]
        for row in rows:
            cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
            lines.append("  ".join(["", *cells, *row[len(widths) :]]).rstrip())
    return "\n".join(lines)


def _cells(value: object) -> tuple[str, ...]:
    if not isinstance(value, dict):
        return (str(value),)
    return tuple("–" if value[cell] is None else str(value[cell]) for cell in CELLS if cell in value)
