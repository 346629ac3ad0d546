"""`aforo catalog apply|export`: what a tenant sells, as a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from .client import Client, asking
from .exits import run
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
@formatted
@asking
def apply(client: Client, file: Path, shape: str) -> None:
    """Replace the catalog by FILE, TOML or JSON; applying it twice changes nothing."""
    content_type = "application/json" if file.suffix.lower() == ".json" else "application/toml"
    meta = client.put("/v1/catalog", file.read_bytes(), content_type)["meta"]
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
