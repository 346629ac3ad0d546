"""OpenTelemetry's instrumentor of OpenAI's client (openai-v2): the standard names, never any reasoning tokens."""

from __future__ import annotations

from typing import Final

from aforo_sdk import conventions as c

from .values import Attributes
from .vocabulary import Dialect, stated, without_reasoning


def _operation(attributes: Attributes, span_name: str) -> str:
    del span_name
    return stated(attributes, c.OPERATION_NAME)


OTEL_OPENAI: Final = Dialect(
    name="otel-openai",
    scopes=("opentelemetry.instrumentation.openai_v2",),
    operation=_operation,
    amend=without_reasoning,
)
