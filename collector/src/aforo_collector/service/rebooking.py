"""Usage of customers that were not in the catalog yet, booked again once they are.

What an unknown customer uses is accepted and kept; no plan says what it costs or which metrics are written.
When a catalog brings the customer, or a product it did not have, its events are looked at once more, and those
that the new terms or teams make something else of are voided and booked again. So are those of customers whose plan
prices a metric, or goes by a dimension, that it did not: an event keeps no more than its plan asks for, and an edit
that is undone must not leave a gap in the bill. A customer whose plan asks for nothing new keeps its usage under the
teams that it was booked under.
"""

from __future__ import annotations

from aforo_collector.domain.catalog import Catalog, RatePlan
from aforo_collector.domain.metrics import PRODUCT_TYPES
from aforo_collector.store.sqlite_writer import SqliteWriter

from .writer import Writer

EVENTS_AT_ONCE = 500


def newly_known(before: Catalog, after: Catalog) -> list[str]:
    """Customers that are in the catalog now, or have a plan for a product type that asks for what they had no price of,
    or at other times.
    """
    return [
        customer.id
        for customer in after.customers
        if (known := before.customer(customer.id)) is None
        or set(known.terms) != set(customer.terms)
        or any(
            _asks(after.basis(customer.id, kind)) - _asks(before.basis(customer.id, kind))
            for kind in PRODUCT_TYPES
        )
    ]


def _asks(plan: RatePlan | None) -> set[tuple[str, str | None]]:
    return set() if plan is None else plan.asks()


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
    while (more := writer.run(some)) is not None:
        booked += more
    return booked
