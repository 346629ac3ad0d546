"""The validation report as a page that needs nothing beside itself: no script, no style from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

from .upload import harmless

ROWS_SHOWN_MAX: Final = 1_000

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1a1a1a; background: #fff }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .3rem .8rem .3rem 0; vertical-align: top; border-bottom: 1px solid #ddd }
th { font-weight: 600 } td.n { text-align: right; font-variant-numeric: tabular-nums } code { font-size: .85em; overflow-wrap: anywhere; white-space: pre-wrap }
@media (prefers-color-scheme: dark) { body { color: #eee; background: #161616 } th, td { border-color: #444 } }
"""  # noqa: E501
_FACTS: Final = (
    ("File", "fileName"), ("Format", "format"), ("SHA-256", "sha256"), ("State", "state"), ("Dry run", "dryRun"),
    ("Received", "createdAt"), ("Finished", "finishedAt"), ("First event", "firstOccurredAt"),
    ("Last event", "lastOccurredAt"),
)  # fmt: skip
_COLUMNS: Final = ("line", "code", "field", "message", "raw")


def report_page(report: Mapping[str, Any], more: bool) -> str:
    """The page of a `report_view`; `more` says that it does not show every row."""
    facts = [(name, report[key]) for name, key in _FACTS if report[key] not in (None, False)]
    if report["problem"]:
        facts.append(("Problem", report["problem"]["message"]))
    facts += [("Warning", warning) for warning in report["warnings"]]
    title = f"Upload {report['jobId']}"
    rows = report["rows"]
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body><main><h1>{_text(title)}</h1>",
        _table((), facts),
        "<h2>Rows</h2>",
        _table((), report["totals"].items()),
    ]
    if report["errors"]:
        by_count = sorted(report["errors"].items(), key=lambda item: (-item[1], item[0]))
        parts += ["<h2>What is wrong</h2>", _table(("Code", "Rows"), by_count)]
    if rows:
        parts += ["<h2>Rows that were not recorded</h2>"]
        parts.append(
            _table([name.capitalize() for name in _COLUMNS], ([row[c] for c in _COLUMNS] for row in rows))
        )
    if more:
        parts.append(
            f"<p>The first {len(rows)} are shown; the JSON report and the file of rejected rows have all.</p>"
        )
    return "\n".join([*parts, "</main></body></html>\n"])


def _table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in header)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f'<td class="n">{value}</td>'
    return (
        f"<td><code>{_text(harmless(value))}</code></td>"
        if isinstance(value, str)
        else f"<td>{_plain(value)}</td>"
    )


def _plain(value: Any) -> str:
    return "" if value is None else _text(str(value).lower())


def _text(text: str) -> str:
    return escape("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text))
