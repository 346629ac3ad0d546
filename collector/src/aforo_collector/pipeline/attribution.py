"""Attribute: what a usage event is worth, and what it says of tools, tokens and cost, as occurrences.

An event of a built-in unit (`mcp_server.tool_invocations`, `ai_agent.steps`, …) is the occurrence that a span
would have been, so that sessions and roll-ups count both alike. Any other event is a USAGE occurrence, and
what it says of its cost (`total_provider_cost`, or a model and token counts, at the top level or in the
metadata) is an occurrence of its own beside it. An event that itself counts tokens counts only those.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, NamedTuple

from aforo_collector.domain.cost import Unpriced, pools_of
from aforo_collector.domain.metering import CostOf
from aforo_collector.domain.metrics import TEMPLATES, BillableUnit, metric_name, prefix_of
from aforo_collector.domain.money import ZERO, MoneyError, decimal_of
from aforo_collector.domain.submission import UsageEvent
from aforo_collector.domain.usage import Kind, Occurrence

_TOKENS_MAX: Final = 10**12
_NAMES: Final = {
    "total_provider_cost": "cost", "provider_cost": "cost",
    "model": "model", "model_name": "model", "response_model": "model",
    "provider": "provider", "provider_name": "provider",
    "input_tokens": "input", "prompt_tokens": "input",
    "output_tokens": "output", "completion_tokens": "output",
    "reasoning_tokens": "reasoning",
    "cache_read_tokens": "cache_read", "cached_tokens": "cache_read", "cache_read_input_tokens": "cache_read",
    "cache_write_tokens": "cache_write", "cache_creation_input_tokens": "cache_write",
    "step_type": "step_type", "step_kind": "step_type",
}  # fmt: skip


def _spellings() -> dict[str, str]:
    found = dict(_NAMES)
    for name, meaning in _NAMES.items():
        first, *rest = name.split("_")
        found[first + "".join(word.capitalize() for word in rest)] = meaning
    return found


SPELLINGS: Final[Mapping[str, str]] = _spellings()
"""What an event may say of its cost, by every spelling: snake_case and camelCase."""

_SAID: Final = frozenset(SPELLINGS)
COST: Final = "cost"
PROVIDER: Final = "provider"
"""What the spellings of a cost and of a model's provider mean; those of a token count mean its pool."""

COSTS: Final = frozenset(
    name for name, meaning in SPELLINGS.items() if meaning not in ("model", "provider", "step_type")
)
"""The spellings of cost and token counts alone."""

_TOKEN_UNITS: Final = {
    "input_tokens": "input",
    "output_tokens": "output",
    "reasoning_tokens": "reasoning",
    "cache_read_tokens": "cache_read",
    "cache_write_tokens": "cache_write",
}


_CALLS: Final = ("tool_calls", "steps")
_MEASURES: Final = frozenset((*_TOKEN_UNITS, *_CALLS, "provider_cost"))


def counted_by(metric: object, product_type: object) -> str:
    """The pool of tokens that a built-in unit counts, or `COST`; "" for what counts neither, and for no unit."""
    if not isinstance(metric, str):
        return ""
    full = metric
    if metric not in TEMPLATES and isinstance(product_type, str):  # a short name is one of a product type
        full = metric_name(product_type.strip().upper(), metric)
    own = full.rpartition(".")[2] if full in TEMPLATES else ""
    return COST if own == "provider_cost" else _TOKEN_UNITS.get(own, "")


class Stated(NamedTuple):
    """What an event says of the call behind it; `tokens` are inclusive counts by pool, `cost` US dollars."""

    model: str
    provider: str
    step_type: str
    cost: Decimal | None
    tokens: Mapping[str, int]


class Part(NamedTuple):
    """One occurrence of an event; `own` is the measure of it that the event itself is, "" for none."""

    occurrence: Occurrence
    own: str


def parts_of(
    event: UsageEvent, unit: BillableUnit | None, product_type: str, cost_of: CostOf, occurred_ns: int
) -> list[Part]:
    """The occurrences that an admitted event of `unit` is, unrated; the first is the event itself."""
    stated = stated_of(event)
    own = _built_in(event, unit, product_type)
    if own == "tool_calls":
        tool = _calls(event, own, int(event.quantity)).occurrence
        if stated.tokens:  # a model was called inside; its tokens have a price of their own
            return [Part(tool, own), *_derived(event, stated, cost_of, occurred_ns)]
        return [Part(tool._replace(cost=stated.cost or None), own)]
    if own == "steps":
        main = _model(event, stated, cost_of, occurred_ns)._replace(calls=int(event.quantity))
        return [Part(main, own)]
    if own in _TOKEN_UNITS:
        return [Part(_counted(event, stated, _TOKEN_UNITS[own], cost_of, occurred_ns), own)]
    if own == "provider_cost":
        return [Part(_cost(event, stated._replace(cost=event.quantity)), own)]
    main = Occurrence(Kind.USAGE, status=event.status, metric=event.metric, quantity=event.quantity)
    return [Part(main, ""), *_derived(event, stated, cost_of, occurred_ns)]


def counts_only_itself(event: UsageEvent, unit: BillableUnit | None, product_type: str) -> bool:
    """Whether an event like this one is a USAGE occurrence and nothing else, whatever its quantity."""
    return stated_of(event) is _NOTHING and not _measure(event, unit, product_type)


def counted_by_one(event: UsageEvent, unit: BillableUnit | None, product_type: str) -> Part | None:
    """What an event like this one is that tells of a single call, if it counts calls and tells of nothing else.

    One that tells of more is the same with so many `calls`; one that tells of none, or of a fraction, is not.
    """
    if stated_of(event) is not _NOTHING or _measure(event, unit, product_type) not in _CALLS:
        return None
    return _calls(event, _measure(event, unit, product_type), 1)


def stated_of(event: UsageEvent) -> Stated:
    """What an event says of the call behind it; what is no count or amount is left out."""
    if _SAID.isdisjoint(event.metadata) and _SAID.isdisjoint(event.details):
        return _NOTHING
    said: dict[str, object] = {}
    for fields in (event.metadata, event.details):  # the top level wins
        for name in sorted(name for name in fields if name in SPELLINGS):
            said[SPELLINGS[name]] = fields[name]
    tokens = {}
    for pool in ("input", "output", "reasoning", "cache_read", "cache_write"):
        count = said.get(pool)
        if type(count) is int and 0 < count < _TOKENS_MAX:
            tokens[pool] = count
    return Stated(
        _text(said.get("model")), _text(said.get("provider")), _text(said.get("step_type")),
        amount_of(said.get("cost")), tokens,
    )  # fmt: skip


_NOTHING: Final = Stated("", "", "", None, {})


def _text(value: object) -> str:
    return value[:256] if isinstance(value, str) else ""


def amount_of(value: object) -> Decimal | None:
    """An amount of US dollars that an event states; None for what is none."""
    if not isinstance(value, str | int | Decimal) or isinstance(value, bool):
        return None
    try:
        amount = decimal_of(value)
    except MoneyError:
        return None
    return amount if ZERO <= amount < _TOKENS_MAX else None


def _built_in(event: UsageEvent, unit: BillableUnit | None, product_type: str) -> str:
    """The measure of a span that the event is one of; "" where no span could have said what it says."""
    own = _measure(event, unit, product_type)
    if not own or not event.quantity:
        return ""
    return own if own == "provider_cost" or event.quantity == event.quantity.to_integral_value() else ""


def _measure(event: UsageEvent, unit: BillableUnit | None, product_type: str) -> str:
    metric = event.metric
    prefix = prefix_of(product_type) + "."
    if not metric.startswith(prefix) or unit is not TEMPLATES.get(metric):
        return ""
    own = metric.removeprefix(prefix)
    if own in ("tool_calls", "tool_invocations"):
        own = "tool_calls" if event.tool else ""
    return own if own in _MEASURES else ""


def _model(event: UsageEvent, stated: Stated, cost_of: CostOf, occurred_ns: int) -> Occurrence:
    """The model call that an event tells of; without tokens only its cost, if it states one."""
    tokens = stated.tokens
    pools, agree = pools_of(
        tokens.get("input", 0), tokens.get("output", 0), tokens.get("cache_read", 0),
        tokens.get("cache_write", 0), reasoning=tokens.get("reasoning", 0),
    )  # fmt: skip
    cost, reason = stated.cost, ""
    if cost is None and tokens:
        found = cost_of(stated.provider, stated.model, pools, occurred_ns)
        if isinstance(found, Unpriced):
            reason = found.reason
        else:
            cost = found
    return Occurrence(
        Kind.MODEL, stated.model, event.status or "SUCCESS", stated.step_type, model_calls=1 if tokens else 0,
        input=pools.input, output=pools.output, reasoning=pools.reasoning, cache_read=pools.cache_read,
        cache_write=pools.cache_write_5m, cost=cost, reason=reason,
        quality="" if not tokens else "reported" if agree else "inconsistent",
    )  # fmt: skip


def _calls(event: UsageEvent, own: str, count: int) -> Part:
    """So many calls of a tool, or steps, of which an event says nothing else."""
    status = event.status or "SUCCESS"
    if own == "tool_calls":
        return Part(Occurrence(Kind.TOOL, event.tool, status, "TOOL_CALL", calls=count), own)
    return Part(Occurrence(Kind.MODEL, status=status, calls=count), own)


def _counted(event: UsageEvent, stated: Stated, pool: str, cost_of: CostOf, occurred_ns: int) -> Occurrence:
    """An event that counts the tokens of one exclusive pool itself: those, and what they cost.

    The one dimension of tokens is their model, so a measurement of a compound event says it as its `dimensionKey`.
    """
    count = int(event.quantity)
    model = stated.model or _text(event.details.get("dimensionKey"))
    above = {"reasoning": "output"}.get(pool, "input" if pool.startswith("cache") else pool)
    only = stated._replace(model=model, tokens={above: count, pool: count})
    return _model(event, only, cost_of, occurred_ns)._replace(model_calls=0, quality="")


def _derived(event: UsageEvent, stated: Stated, cost_of: CostOf, occurred_ns: int) -> list[Part]:
    if stated.tokens:
        return [Part(_model(event, stated, cost_of, occurred_ns), "")]
    return [Part(_cost(event, stated), "")] if stated.cost else []


def _cost(event: UsageEvent, stated: Stated) -> Occurrence:
    kind, label = (Kind.TOOL, event.tool) if event.tool else (Kind.MODEL, stated.model)
    return Occurrence(kind, label, event.status or "SUCCESS", cost=stated.cost)
