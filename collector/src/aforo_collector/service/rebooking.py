"""Usage of customers that were not in the catalog yet, or had another plan, booked again.

What an unknown customer uses is accepted and kept; no plan says what it costs or which metrics are written.
When a catalog brings the customer, a product it did not have, or a price that its plan did not have, its events are
looked at once more, and those that the new terms or teams make something else of are voided and booked again. What
only costs more or less needs no booking: a period is rated as a whole. A customer that is known keeps its usage
under the teams that it was booked under.
"""

from __future__ import annotations

from aforo_collector.domain.catalog import Catalog, RatePlan
from aforo_collector.domain.metrics import PRODUCT_TYPES
from aforo_collector.store.sqlite_writer import SqliteWriter

from .writer import Writer

EVENTS_AT_ONCE = 500


def newly_known(before: Catalog, after: Catalog) -> list[str]:
    """Customers that are in the catalog now, or have a plan for a product type at other times or of which it asks
    more than the one before did.
    """
    return [
        customer.id
        for customer in after.customers
        if (known := before.customer(customer.id)) is None
        or set(known.terms) != set(customer.terms)
        or any(
            _asked(after.basis(customer.id, kind)) - _asked(before.basis(customer.id, kind))
            for kind in PRODUCT_TYPES
        )
    ]


def _asked(plan: RatePlan | None) -> set[tuple[str, str | None]]:
    """What a plan has to find in the events: each metric that it prices, and the field that the price goes by."""
    if plan is None:
        return set()
    return {("", None), *((price.metric, price.terms.dimension) for price in plan.prices)}


def rebook(store: SqliteWriter, writer: Writer, tenant_no: int) -> int:
    """Finish the rebookings of a tenant; returns how many events were booked again.

    A transaction for every few hundred, which also notes how far it came: what a crash leaves undone is done
    at the next start.
    """

    def some(now_ns: int) -> int | None:
        found = store.rebooking(tenant_no, EVENTS_AT_ONCE)
        if found is None:
            return None
        customer_no, numbers = found
        booked = sum(writer.intake.rebook(tenant_no, number, now_ns) for number in numbers)
        store.rebooked(customer_no, numbers[-1] + 1 if numbers else None)
        return booked

    booked = 0
    while (more := writer.command(some).result()) is not None:
        booked += more
    return booked
