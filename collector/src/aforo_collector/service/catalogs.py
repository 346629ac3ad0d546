"""Catalogs and price books in force: read at the start, replaced as a whole while spans keep coming in."""

from __future__ import annotations

import json
from collections.abc import Callable
from threading import Lock
from typing import Any

from aforo_collector.domain.catalog import EMPTY_CATALOG, Catalog
from aforo_collector.domain.catalog_file import CatalogError, export, parse
from aforo_collector.prices.book import PriceBook
from aforo_collector.store.sqlite_writer import SqliteWriter

from .rebooking import newly_known, rebook
from .repricing import reprice
from .writer import Writer

Change = Callable[[dict[str, Any]], None]
"""An edit of a catalog's file, in place."""
Also = Callable[[Catalog, int], None]
"""What is written in the same transaction; gets the new catalog and the time in ns."""


class Catalogs:
    """One catalog and one price book for each tenant; asked by any thread, changed through the writer."""

    def __init__(self, store: SqliteWriter, writer: Writer) -> None:
        self._store = store
        self._writer = writer
        self._catalogs: dict[int, Catalog] = {}
        self._books: dict[int, PriceBook] = {}
        self._public = PriceBook()
        self._pricing = Lock()  # one catalog at a time, and what it prices is counted once

    def catalog(self, tenant_no: int) -> Catalog:
        """The catalog in force of a tenant."""
        return self._catalogs.get(tenant_no, EMPTY_CATALOG)

    def book(self, tenant_no: int) -> PriceBook:
        """The price book in force of a tenant: its own prices first, then the public ones."""
        return self._books.get(tenant_no, self._public)

    def start(self, tenant_no: int, catalog: Catalog) -> None:
        """Put the catalog that the store has in force; before the writer starts."""
        self._use(tenant_no, catalog)

    def start_from(self, tenant_no: int, body: str) -> None:
        """As `start`, from the stored text."""
        self._use(tenant_no, parse(json.loads(body)))

    def _use(self, tenant_no: int, catalog: Catalog) -> None:
        book = PriceBook(catalog.price_overrides)
        self._writer.intake.contracts.use(tenant_no, catalog, book.cost)
        self._catalogs[tenant_no] = catalog
        self._books[tenant_no] = book

    def apply(self, tenant_no: int, document: object) -> dict[str, Any]:
        """Replace a tenant's catalog; waits for the commit.

        Returns `{"changed", "rebooked", "repriced"}`: whether it differs from the one before, how many events of
        customers that it brings were booked again, and how many got the cost that was unknown before. Raises
        `CatalogError`, then nothing was changed: what a unit aggregates, and how, stays once it has events.
        """
        catalog = parse(document)
        with self._pricing:
            if catalog == self.catalog(tenant_no) and tenant_no in self._catalogs:
                # Whoever applies it again may have been told of a full disk: finish what was left.
                return {
                    "changed": False,
                    "rebooked": rebook(self._store, self._writer, tenant_no),
                    "repriced": 0,
                }
            return self._apply(tenant_no, catalog, lambda _catalog, _now_ns: None)

    def edit(self, tenant_no: int, change: Change, also: Also) -> Catalog:
        """Replace a tenant's catalog by what `change` makes of its file; waits for the commit.

        No other catalog comes in between. `also` runs in the transaction that keeps the new catalog. Raises as
        `apply`, and whatever `change` raises; then nothing was changed.
        """
        with self._pricing:
            document = export(self.catalog(tenant_no))
            change(document)
            catalog = parse(document)
            self._apply(tenant_no, catalog, also)
        return catalog

    def begin(self, tenant_no: int, like_no: int, now_ns: int) -> bool:
        """Let a tenant without a catalog begin with another one's, in a transaction of the writer; whether it did."""
        if tenant_no in self._catalogs or like_no not in self._catalogs:
            return False
        catalog = self.catalog(like_no)
        self._store.put_catalog(tenant_no, json.dumps(export(catalog)), now_ns)
        self._use(tenant_no, catalog)
        return True

    def forget(self, tenant_no: int) -> None:
        """Undo `begin`, of which the transaction was rolled back."""
        self._use(tenant_no, EMPTY_CATALOG)
        del self._catalogs[tenant_no], self._books[tenant_no]

    def _apply(self, tenant_no: int, catalog: Catalog, also: Also) -> dict[str, Any]:
        before = self.catalog(tenant_no)
        body = json.dumps(export(catalog))

        def replace(now_ns: int) -> None:
            self._keep_aggregations(tenant_no, catalog)
            self._store.put_catalog(tenant_no, body, now_ns)
            also(catalog, now_ns)
            for customer_id in newly_known(before, catalog):
                self._store.plan_rebooking(tenant_no, customer_id)
            self._use(tenant_no, catalog)

        self._writer.command(replace, undo=lambda: self._use(tenant_no, before)).result()
        return {
            "changed": True,
            "rebooked": rebook(self._store, self._writer, tenant_no),
            "repriced": reprice(self._store, self._writer, tenant_no),
        }

    def _keep_aggregations(self, tenant_no: int, catalog: Catalog) -> None:
        """Raise `CatalogError` for units that would aggregate otherwise than when their events were recorded."""
        used = self._store.used_metrics(tenant_no)
        asked = {unit.name for unit in catalog.billable_units} & used
        known: dict[str, tuple[str, str | None]] = {}
        for body in self._store.catalogs(tenant_no) if asked else ():
            for row in json.loads(body).get("billable_units", ()):
                known.setdefault(row["name"], (row["aggregation"], row.get("event_field")))
            if asked <= known.keys():
                break
        problems = [
            f"billable_units[{n}].{key}: {now or 'none'}, but usage events of {unit.name!r} exist, recorded under "
            f"{was or 'none'}; keep it, and count in another way under another name"
            for n, unit in enumerate(catalog.billable_units)
            if unit.name in asked & known.keys()
            for key, was, now in zip(
                ("aggregation", "event_field"),
                known[unit.name],
                (unit.aggregation, unit.event_field),
                strict=True,
            )
            if was != now
        ]
        if problems:
            raise CatalogError(problems)

    def catch_up(self, tenant_no: int) -> int:
        """Finish what a tenant's catalog began, and book the costs that have become known; returns how many."""
        with self._pricing:
            rebook(self._store, self._writer, tenant_no)
            return reprice(self._store, self._writer, tenant_no)
