"""`aforo catalog apply|export`: what a tenant sells, as a file."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import click

from .client import Client, asking
from .exits import USAGE, Failure, run
from .printing import formatted, print_one
from .toml import toml_of


def main(argv: list[str]) -> int:
    """Apply or export the catalog: apply, export."""
    return run(catalog, "catalog", argv)


@click.group(help=main.__doc__)
def catalog() -> None:
    """Apply or export the catalog."""


@catalog.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--empty", is_flag=True, help="Also if nothing is in FILE, and then nothing is in the catalog.")
@formatted
@asking
def apply(client: Client, file: Path, empty: bool, shape: str) -> None:
    """Replace the catalog by FILE, TOML or JSON; applying it twice changes nothing."""
    is_json = file.suffix.lower() == ".json"
    body = file.read_bytes()
    if not empty and not _holds(_table(body, is_json)) and _holds(client.get("/v1/catalog")):
        raise Failure(
            USAGE, f"nothing is in {file}, and the catalog stays as it is; --empty takes everything out of it"
        )
    meta = client.put("/v1/catalog", body, "application/json" if is_json else "application/toml")["meta"]
    print_one(meta, shape)
    print("applied" if meta["changed"] else "in force already; nothing was changed", file=sys.stderr)


@catalog.command()
@click.option(
    "--format", "shape", type=click.Choice(("toml", "json")), default="toml", show_default=True,
    help="What to print on stdout; `apply` reads either.",
)  # fmt: skip
@asking
def export(client: Client, shape: str) -> None:
    """The catalog in force."""
    found = client.get("/v1/catalog")
    print(json.dumps(found, indent=2, ensure_ascii=False) if shape == "json" else toml_of(found))


def _table(body: bytes, is_json: bool) -> Any:
    """What is in a file; None for what cannot be read, of which the collector says why."""
    try:
        return json.loads(body) if is_json else tomllib.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def _holds(catalog: Any) -> bool:
    """Whether anything is sold, or to anybody, by a catalog; what is no catalog is not for here."""
    return not isinstance(catalog, dict) or any(
        isinstance(value, list) and value for value in catalog.values()
    )
