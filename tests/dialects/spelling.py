"""What the writers of calls share."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from aforo_collector.domain.span import Tokens

from .calls import Call, Kind
from .wire import Scalar, Written

Attributes = dict[str, Scalar]
EVERY_KIND: tuple[Kind, ...] = ("chat", "embeddings", "tool", "agent", "workflow", "retriever")


@dataclass(frozen=True, slots=True)
class Writer:
    """A dialect's way to write; `lacks` names what it never says, of `Call` or of `Tokens`."""

    write: Callable[[Call], Written]
    kinds: Collection[Kind] = EVERY_KIND
    lacks: frozenset[str] = frozenset()


def attributes_of(**attributes: Scalar | None) -> Attributes:
    """Attributes with __ for the dot; what is None or an empty text is left out."""
    return {key.replace("__", "."): value for key, value in attributes.items() if value not in (None, "")}


def positive(prefix: str, tokens: Tokens, **names: str) -> Attributes:
    """Counts above zero under a prefix: keyword is the field of `Tokens`, value the rest of the name."""
    return {prefix + name: getattr(tokens, field) for field, name in names.items() if getattr(tokens, field)}


OPERATIONS = {
    "chat": "chat", "embeddings": "embeddings", "tool": "execute_tool", "agent": "invoke_agent",
    "workflow": "invoke_workflow", "retriever": "retrieval",
}  # fmt: skip


def standard(call: Call, session_key: str = "gen_ai__conversation__id") -> Attributes:
    """What most dialects share by now: OpenTelemetry's names without the counts."""
    named: Attributes = attributes_of(
        gen_ai__operation__name=OPERATIONS[call.kind], **{session_key: call.session}
    )
    if call.kind in ("chat", "embeddings") or call.tokens is not None:
        named |= attributes_of(gen_ai__provider__name=call.provider, gen_ai__request__model=call.model)
    if call.kind in ("chat", "embeddings") and not call.failed:
        named |= attributes_of(gen_ai__response__model=call.model, gen_ai__response__id=call.call_id)
    if call.kind == "tool":
        named |= attributes_of(gen_ai__tool__name=call.name, gen_ai__tool__call__id=call.call_id)
    if call.kind == "agent":
        named |= attributes_of(gen_ai__agent__name=call.name)
    if call.failed:
        named["error.type"] = "ValueError"
    return named
