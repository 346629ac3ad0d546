"""`aforo doctor`: what is in force, where it came from, what waits, and whether the collector answers."""

import argparse
import json
import os
from collections.abc import Sequence
from importlib.metadata import distributions
from typing import Final

from aforo_sdk import contents, counts
from aforo_sdk.cli import OK, UNAVAILABLE
from aforo_sdk.settings import Destination, Settings, resolve

ANSWER_TIMEOUT_S: Final = 3.0
REASONS_MAX: Final = 5


def main(arguments: Sequence[str]) -> int:
    """Show settings and their sources, the spool, and whether the collector answers.

    Exit code 0 when the collector answers, 5 when it does not.
    """
    parser = argparse.ArgumentParser("aforo doctor", description=main.__doc__)
    parser.add_argument("--format", choices=("table", "json"), default="table")
    chosen = parser.parse_args(arguments)
    found = report(resolve({}, os.environ))
    print(json.dumps(found, indent=2) if chosen.format == "json" else _table(found))
    return OK if found["collector"]["answers"] else UNAVAILABLE


def report(settings: Settings) -> dict[str, dict[str, object]]:
    """Everything `aforo doctor` says, by heading. Asks the collector for `/livez`."""
    return {
        "settings": _settings(settings),
        "collector": _collector(settings.destination),
        "spool": _spool(settings),
        "counters of the last week": dict(counts.collected(settings.spool_dir)),
        "installed": {
            name: one.version
            for one in distributions()
            if (name := str(one.metadata["Name"])) and name.startswith("aforo")
        },
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


def _table(found: dict[str, dict[str, object]]) -> str:
    lines: list[str] = []
    for heading, entries in found.items():
        lines += ["", heading] if lines else [heading]
        for name, value in entries.items():
            if isinstance(value, dict):
                shown = "–" if value["value"] is None else value["value"]
                lines.append(f"  {name:<24}{shown!s:<44} {value['from']}")
            else:
                lines.append(f"  {name:<24}{value}")
        if not entries:
            lines.append("  none")
    return "\n".join(lines)
