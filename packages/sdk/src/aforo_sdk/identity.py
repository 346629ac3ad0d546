"""Who a span is billed to.

Order: what a session of ours set in this context, then W3C baggage (keys = attribute names), then the
defaults of the process (`runtime.current_identity`). Fields are filled one by one, so a session that names
only a customer keeps the team and agent of the process.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from aforo_sdk import conventions, wire

ATTRIBUTE_NAMES: Final = {
    "customer_id": conventions.CUSTOMER_ID,
    "team_id": conventions.TEAM_ID,
    "agent_id": conventions.AFORO_AGENT_ID,
    "app_id": conventions.APP_ID,
    "session_id": conventions.SESSION_ID,
    "product_type": conventions.PRODUCT_TYPE,
}


@dataclass(frozen=True, slots=True)
class Identity:
    """The payer and the caller of a span; None = not known here. An empty value counts as unknown, others
    become text.

    `attributes` are the same six values as encoded OTLP span attributes, computed once.
    """

    customer_id: str | None = None
    team_id: str | None = None
    agent_id: str | None = None
    app_id: str | None = None
    session_id: str | None = None
    product_type: str | None = None
    attributes: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Bring the values to text and encode them."""
        for name in ATTRIBUTE_NAMES:
            value = getattr(self, name)
            if (value is not None and type(value) is not str) or value == "":
                object.__setattr__(self, name, str(value) or None)
        encoded = b"".join([wire.text_once(key, value) for key, value in self.items()])
        object.__setattr__(self, "attributes", encoded)

    def __hash__(self) -> int:
        # Every root run looks identities up in caches, and bytes remember their hash.
        return hash(self.attributes)

    def over(self, base: "Identity") -> "Identity":
        """This identity with its unknown fields filled from `base`."""
        try:
            return _merged[self.attributes, base.attributes]
        except KeyError:
            return _merge(self, base)

    def items(self) -> list[tuple[str, str]]:
        """The known fields as (attribute name, value)."""
        found = [(key, getattr(self, name)) for name, key in ATTRIBUTE_NAMES.items()]
        return [(key, value) for key, value in found if value is not None]


UNKNOWN: Final = Identity()
MERGED_MAX: Final = 1024
_merged: Final[dict[tuple[bytes, bytes], Identity]] = {}
"""What comes of one identity over another, by their attributes: every call asks, and bytes know their hash."""


def from_baggage(carried: Mapping[str, object]) -> Identity:
    """What W3C baggage says."""
    stated = [carried.get(key) for key in ATTRIBUTE_NAMES.values()]
    if not any(stated):
        return UNKNOWN
    return _stated(*[None if value is None else str(value) for value in stated])


def _merge(own: Identity, base: Identity) -> Identity:
    if base == UNKNOWN:
        return own
    merged = Identity(*[getattr(own, name) or getattr(base, name) for name in ATTRIBUTE_NAMES])
    if len(_merged) >= MERGED_MAX:
        _merged.clear()
    _merged[own.attributes, base.attributes] = merged
    return merged


@lru_cache(maxsize=1024)
def _stated(*values: str | None) -> Identity:
    return Identity(*values)
