"""Which dialect a span is written in: by the name of its instrumentation scope, else by a marker it carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, TypeAlias

from aforo_sdk import conventions as c

from aforo_collector.domain.identity import Identity
from aforo_collector.domain.span import Span

from .ag2 import AG2
from .autogen import AUTOGEN
from .crewai import CREWAI
from .logfire import LOGFIRE
from .mcp import MCP
from .openinference import KIND, OPENINFERENCE, OPENINFERENCE_AUTOGEN, OPENINFERENCE_CREWAI
from .openllmetry import OPENLLMETRY, OPENLLMETRY_COARSE, OPENLLMETRY_CREWAI, OPENLLMETRY_OLD
from .otel_genai import Frame, translate
from .otel_openai import OTEL_OPENAI
from .pydantic_ai import PYDANTIC_AI
from .values import Attributes
from .vocabulary import Dialect

Reader: TypeAlias = Callable[[Attributes, Identity, Frame], Span]
"""Makes a `Span` of attributes; raises `SpanError` with the reason when it cannot."""

DIALECTS: Final = (
    OPENINFERENCE,
    OPENINFERENCE_AUTOGEN,
    OPENINFERENCE_CREWAI,
    OPENLLMETRY,
    OPENLLMETRY_OLD,
    OPENLLMETRY_CREWAI,
    OPENLLMETRY_COARSE,
    OTEL_OPENAI,
    AUTOGEN,
    AG2,
    CREWAI,
    PYDANTIC_AI,
    LOGFIRE,
    MCP,
)
"""Everything but OpenTelemetry's own names, which whatever fits none of these is read by."""

_SCOPES: Final[Mapping[str, Dialect]] = MappingProxyType(
    {scope: dialect for dialect in DIALECTS for scope in dialect.scopes if not scope.endswith("*")}
)
_FAMILIES: Final = tuple(
    (scope.removesuffix("*"), dialect)
    for dialect in DIALECTS
    for scope in dialect.scopes
    if scope.endswith("*")
)
_MARKED: Final = tuple((dialect.marker, dialect) for dialect in DIALECTS if dialect.marker)
_SCOPES_KEPT_MAX: Final = 1024


@lru_cache(_SCOPES_KEPT_MAX)
def reader_of(scope_name: str) -> Reader:
    """The reader for the spans of an instrumentation scope."""
    if scope_name == c.SCOPE_NAME:
        return translate
    dialect = _SCOPES.get(scope_name)
    if dialect is None:
        dialect = next((found for start, found in _FAMILIES if scope_name.startswith(start)), None)
    return read_unknown if dialect is None else dialect.read


def read_unknown(attributes: Attributes, resource: Identity, frame: Frame) -> Span:
    """Read a span of a scope that says nothing: a program's own tracer, or another language's."""
    # OpenInference may add OpenTelemetry's names to its own, but not all of them; the others do not.
    if KIND in attributes:
        return OPENINFERENCE.read(attributes, resource, frame)
    if c.OPERATION_NAME not in attributes:
        for marker, dialect in _MARKED:
            if marker in attributes:
                return dialect.read(attributes, resource, frame)
    return translate(attributes, resource, frame)
