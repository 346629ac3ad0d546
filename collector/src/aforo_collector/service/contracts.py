"""Contracts: under which catalog and price book each tenant's usage is rated right now."""

from __future__ import annotations

from aforo_collector.domain.catalog import EMPTY_CATALOG, Catalog
from aforo_collector.domain.identity import DEFAULT_PRODUCT_TYPE, Identity, identity_from
from aforo_collector.domain.metering import CostOf
from aforo_collector.pipeline.terms import Terms
from aforo_collector.store.interning import Bounded


class Contracts:
    """Catalogs, price books and the terms that follow from them, for the writer's thread."""

    def __init__(self, cost_of: CostOf) -> None:
        self._cost_of = cost_of
        self._costs_of: dict[int, CostOf] = {}
        self._catalogs: dict[int, Catalog] = {}
        self._terms: Bounded[tuple[int, int], Terms] = Bounded(4_096)

    def forget(self) -> None:
        """Drop what a rollback may have made wrong."""
        self._terms.clear()

    def use(self, tenant_no: int, catalog: Catalog, cost_of: CostOf | None = None) -> None:
        """Rate the tenant's usage under this catalog from now on, and cost it by its own price book."""
        self._catalogs[tenant_no] = catalog
        if cost_of is not None:
            self._costs_of[tenant_no] = cost_of
        self._terms.clear()

    def catalog(self, tenant_no: int) -> Catalog:
        """The catalog in force of a tenant."""
        return self._catalogs.get(tenant_no, EMPTY_CATALOG)

    def payer(self, tenant_no: int, identity: Identity) -> Identity:
        """Who pays for the usage of an identity, with the team that the catalog says; no session."""
        return payer_of(self.catalog(tenant_no).with_team(identity))

    def cost_of(self, tenant_no: int) -> CostOf:
        """What model calls cost the tenant."""
        return self._costs_of.get(tenant_no, self._cost_of)

    def terms(self, tenant_no: int, payer_no: int, payer: Identity) -> Terms:
        """What the occurrences of a payer become."""
        terms = self._terms.get((tenant_no, payer_no))
        if terms is None:
            terms = Terms(self.catalog(tenant_no), payer)
            self._terms.put((tenant_no, payer_no), terms)
        return terms


def payer_of(identity: Identity) -> Identity:
    """The part of an identity that says who pays for what: no session, and a product type always."""
    customer, team, agent, app, product, _ = identity
    return identity_from((customer, team, agent, app, product or DEFAULT_PRODUCT_TYPE, ""))
