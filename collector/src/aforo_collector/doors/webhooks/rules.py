"""Where each field of a usage event comes from: paths into the payload, else a constant."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, NamedTuple

ONE: Final = Decimal(1)

CUSTOMER: Final = "customerId"
METRIC: Final = "metricName"
QUANTITY: Final = "quantity"
TIME: Final = "occurredAt"


class Rule(NamedTuple):
    """The first path that finds a value gives it, else the constant; None for no constant.

    `multiplier` is for quantities alone.
    """

    paths: tuple[str, ...] = ()
    constant: str | int | Decimal | bool | None = None
    multiplier: Decimal = ONE


class FieldRules(NamedTuple):
    """Rules by the wire name of a field, and rules for what goes into the metadata by name."""

    fields: Mapping[str, Rule]
    metadata: Mapping[str, Rule] = {}

    def over(self, defaults: FieldRules) -> FieldRules:
        """These rules where there is one, else the defaults'."""
        return FieldRules({**defaults.fields, **self.fields}, {**defaults.metadata, **self.metadata})


def template(
    metric: str,
    *,
    customer: tuple[str, ...],
    time: str | None = None,
    quantity: Rule = Rule(constant=1),  # noqa: B008  # a value that nobody can change
    metadata: Mapping[str, str] = {},
) -> FieldRules:
    """The defaults for events of one kind: the metric by name, everything else by path."""
    fields = {CUSTOMER: Rule(customer), METRIC: Rule(constant=metric), QUANTITY: quantity}
    if time is not None:
        fields[TIME] = Rule((time,))
    return FieldRules(fields, {name: Rule((path,)) for name, path in metadata.items()})
