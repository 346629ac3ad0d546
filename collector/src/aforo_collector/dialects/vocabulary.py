"""A dialect: what other instrumentations call the things that OpenTelemetry's GenAI conventions name.

A foreign span is restated in OpenTelemetry's names and then read like any other, so that what a call costs
is decided in one place whoever described it. What a dialect does not name is not there: totals that repeat
other counts (`gen_ai.usage.total_tokens`, `llm.token_count.total`, `gen_ai.aggregated_usage.*`,
`gen_ai.usage.details.*` as a whole, `crewai.crew.token_usage`) appear in none. Our own `aforo.*` attributes
hold in every dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeAlias

from aforo_sdk import conventions as c

from aforo_collector.domain.identity import Identity
from aforo_collector.domain.span import Span

from .otel_genai import COUNTS, MODEL, ROLES, Frame, translate
from .providers import provider_of
from .values import Attributes, Plain, Value, count_of

Restated: TypeAlias = dict[str, Value]
"""Attributes by OpenTelemetry's names."""

OURS: Final = (
    c.CUSTOMER_ID, c.TEAM_ID, c.AFORO_AGENT_ID, c.APP_ID, c.PRODUCT_TYPE, c.SESSION_ID,
    c.STEP_TYPE, c.USAGE_QUALITY, c.PROVIDER_COST, c.USAGE_CACHE_WRITE_5M, c.USAGE_CACHE_WRITE_1H,
    c.AFORO_OPERATION_NAME, c.METRIC_NAME, c.QUANTITY, c.IDEMPOTENCY_KEY, c.METADATA,
)  # fmt: skip
"""What a program may add to any span, whoever made it."""

Names: TypeAlias = Mapping[str, tuple[str, ...]]
"""For each of OpenTelemetry's names the names that mean the same, best first."""

TEXTS: Final[Names] = MappingProxyType(
    {
        c.PROVIDER_NAME: (c.PROVIDER_NAME, c.SYSTEM),
        c.RESPONSE_MODEL: (c.RESPONSE_MODEL,),
        c.REQUEST_MODEL: (c.REQUEST_MODEL,),
        c.RESPONSE_ID: (c.RESPONSE_ID,),
        c.TOOL_NAME: (c.TOOL_NAME,),
        c.TOOL_CALL_ID: (c.TOOL_CALL_ID,),
        c.AGENT_NAME: (c.AGENT_NAME,),
        c.CONVERSATION_ID: (c.CONVERSATION_ID, "gen_ai.session.id", "langfuse.session.id"),
        c.ERROR_TYPE: (c.ERROR_TYPE,),
    }
)
"""OpenTelemetry's own texts. `gen_ai.agent.id` is missing: frameworks put the id of an object in memory
there, a new one with every process, and that is nobody's agent.
"""

TOKENS: Final[Names] = MappingProxyType({names[0]: names for names in COUNTS})
"""OpenTelemetry's own counts, old names included."""

UNKNOWN: Final = frozenset({"unknown", "none"})
"""What instrumentations write for a model whose name they did not find."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one family of instrumentations describes a call.

    `scopes` are names of instrumentation scopes, a name that ends in `*` stands for all that begin so;
    `marker` is an attribute that only this dialect writes, "" where only the scope tells. `operation` says
    which of OpenTelemetry's operations a span of that name is, "" for one that bills nothing. `amend` mends
    what a renaming alone would get wrong.
    """

    name: str
    scopes: tuple[str, ...]
    operation: Callable[[Attributes, str], str]
    marker: str = ""
    texts: Names = field(default_factory=lambda: TEXTS)
    tokens: Names = field(default_factory=lambda: TOKENS)
    amend: Callable[[Restated, Attributes, str], None] | None = None

    def read(self, attributes: Attributes, resource: Identity, frame: Frame) -> Span:
        """Make a `Span`, as `otel_genai.translate` does of OpenTelemetry's own names."""
        return translate(self.restate(attributes, frame[3]), resource, frame)

    def restate(self, attributes: Attributes, span_name: str) -> Restated:
        """The attributes that decide what a span bills, by OpenTelemetry's names; raises `SpanError` for a
        count that is none.
        """
        said = {name: attributes[name] for name in OURS if name in attributes}
        for name, theirs in self.texts.items():
            for key in theirs:
                if key in attributes and (text := text_of(attributes[key])):
                    said[name] = Plain(text)
                    break
        operation = self.operation(attributes, span_name)
        if operation:
            said[c.OPERATION_NAME] = Plain(operation)
        if operation in ROLES:
            for name, theirs in self.tokens.items():
                for key in theirs:
                    if key in attributes:
                        said[name] = Plain(i=count_of(key, attributes[key]))
                        break
        if c.PROVIDER_NAME in said:
            said[c.PROVIDER_NAME] = Plain(provider_of(said[c.PROVIDER_NAME].s))
        for name in (c.REQUEST_MODEL, c.RESPONSE_MODEL):
            if name in said and said[name].s.lower() in UNKNOWN:
                del said[name]
        if self.amend is not None:
            self.amend(said, attributes, span_name)
        return said


def text_of(value: Value) -> str:
    """The text of a value; conversation ids are numbers in some programs."""
    return value.s or (str(value.i) if value.i else "")


def stated(attributes: Attributes, key: str) -> str:
    """The text of an attribute, "" without it."""
    return attributes[key].s if key in attributes else ""


def counted(said: Restated, name: str) -> int:
    """A count that was restated, 0 without it."""
    return said[name].i if name in said else 0


def is_model_call(said: Restated) -> bool:
    """Whether what was restated is a call of a model."""
    return c.OPERATION_NAME in said and ROLES.get(said[c.OPERATION_NAME].s) == MODEL


def without_models(said: Restated, attributes: Attributes, span_name: str) -> None:
    """Flag the agents of an instrumentation that was measured to tell of no call of a model: what an agent
    used is unknown, unless somebody else tells.
    """
    del attributes, span_name
    if c.OPERATION_NAME in said and said[c.OPERATION_NAME].s == c.INVOKE_AGENT and c.INPUT_TOKENS not in said:
        said.setdefault(c.USAGE_QUALITY, Plain(c.MISSING))


def without_reasoning(said: Restated, attributes: Attributes, span_name: str) -> None:
    """Flag the counts of an instrumentation that was measured to leave reasoning out: the totals are the
    provider's, what they are made of is not known.
    """
    del attributes, span_name
    if (
        is_model_call(said)
        and c.REASONING_TOKENS not in said
        and c.USAGE_QUALITY not in said
        and counted(said, c.OUTPUT_TOKENS)
    ):
        said[c.USAGE_QUALITY] = Plain(c.ESTIMATED)
