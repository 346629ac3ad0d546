"""`aforo demo`: from a LangChain callback to an invoice line, on this machine, in a few seconds."""

from __future__ import annotations

import json
import sys
import tempfile
from importlib import resources
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import quote

import click

from .client import Client
from .demo_collector import collector
from .exits import FAILED, Failure, run
from .invoice import print_invoice
from .printing import print_one
from .trees import print_tree

API_KEY = "sk_test_dev"
CUSTOMER = "acme"


def main(argv: list[str]) -> int:
    """Run an agent against a collector of its own and show what it cost and earned."""
    return run(demo, "demo", argv)


@click.command(help=main.__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
@click.option("--serve", is_flag=True, help="Keep the collector up until Ctrl-C.")
def demo(as_json: bool, serve: bool) -> None:
    """Start a collector, run the agent through it, read back what became of it."""
    with (
        tempfile.TemporaryDirectory(prefix="aforo-demo-") as folder,
        collector(Path(folder, "data")) as url,
        Client(url, API_KEY) as client,
    ):
        _say(f"collector at {url}, a fresh one, data in {folder}")
        catalog = resources.files(__package__).joinpath("demo_catalog.toml").read_bytes()
        client.put("/v1/catalog", catalog, "application/toml")
        shown = _read(client, _run_agent(url, str(Path(folder, "spool"))))
        if as_json:
            print(json.dumps(shown, indent=2, ensure_ascii=False))
        else:
            _print(shown)
        sys.stdout.flush()
        if serve:
            _say(f"the collector stays at {url} until Ctrl-C; its API key is {API_KEY}")
            try:
                Event().wait()
            except KeyboardInterrupt:
                _say("stopped")


def _run_agent(url: str, spool_dir: str) -> str:
    try:
        from . import demo_agent
    except ImportError as error:
        raise Failure(
            FAILED,
            f"the demo needs LangChain ({error}); install it with: pip install 'aforo-collector[demo]'",
        ) from None
    try:
        return demo_agent.run(url, API_KEY, spool_dir)
    except TimeoutError as error:
        raise Failure(FAILED, str(error)) from None


def _read(client: Client, session_id: str) -> dict[str, Any]:
    """What the reading endpoints say of the session."""
    path = f"/v1/sessions/{quote(session_id, safe='')}"
    events = list(client.items("/v1/usage-events", 1000, sessionId=session_id))
    final = [event for event in events if event["metricName"].endswith(".sessions")]
    return {
        "session": client.get(path),
        "finalEvent": final[0] if final else None,
        "trace": client.get(f"{path}/trace"),
        "invoice": client.get("/v1/invoices/preview", customerId=CUSTOMER),
        "collectorUrl": client.endpoint,
    }


def _print(shown: dict[str, Any]) -> None:
    print_tree(shown["trace"])
    print("\nfinal event of the session")
    print_one(shown["finalEvent"], "table")
    print(f"\ninvoice preview of {CUSTOMER}")
    print_invoice(shown["invoice"])
    _say(f"\nthe dashboard's place is {shown['collectorUrl']}/ (stay with --serve)")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
