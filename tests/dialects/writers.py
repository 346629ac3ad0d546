"""Every way to write a call, and what it cannot say."""

from __future__ import annotations

from . import frameworks, instrumentors
from .spelling import Writer

_NO_IDS = frozenset({"call_id", "session"})
_AUDIO = frozenset({"audio_in", "audio_out"})

WRITERS = {
    "otel": Writer(instrumentors.otel),
    "otel before": Writer(instrumentors.otel_before),
    "openinference langchain": Writer(
        instrumentors.openinference_langchain, kinds=("chat", "embeddings", "tool", "agent", "retriever")
    ),
    "openinference openai": Writer(instrumentors.openinference_openai, kinds=("chat", "embeddings")),
    "openinference beside otel": Writer(instrumentors.openinference_beside_otel, kinds=("chat",)),
    "openinference autogen": Writer(
        instrumentors.openinference_autogen,
        kinds=("chat", "tool", "agent"),
        lacks=_AUDIO | {"call_id", "cache_read", "cache_write", "reasoning"},
    ),
    "openinference crewai": Writer(
        instrumentors.openinference_crewai,
        kinds=("tool", "agent"),
        lacks=frozenset({"call_id", "totals", "models"}),
    ),
    "openllmetry openai": Writer(
        instrumentors.openllmetry_openai,
        kinds=("chat",),
        lacks=_AUDIO | {"cache_write", "reasoning when streamed"},
    ),
    "openllmetry langchain": Writer(instrumentors.openllmetry_langchain, lacks=_AUDIO | {"reasoning"}),
    "openllmetry before": Writer(instrumentors.openllmetry_before, lacks=_AUDIO | {"call_id of tools"}),
    "openllmetry crewai": Writer(
        instrumentors.openllmetry_crewai, kinds=("agent",), lacks=frozenset({"totals", "models"})
    ),
    "otel openai": Writer(
        instrumentors.otel_openai, kinds=("chat", "embeddings"), lacks=_AUDIO | {"reasoning"}
    ),
    "openllmetry mcp": Writer(instrumentors.openllmetry_mcp, kinds=("tool",), lacks=_NO_IDS),
    "autogen": Writer(
        frameworks.autogen, kinds=("tool", "agent"), lacks=frozenset({"session", "totals", "models"})
    ),
    "ag2": Writer(
        frameworks.ag2,
        kinds=("chat", "tool", "agent"),
        lacks=_AUDIO | {"session", "call_id of models", "zeros", "totals"},
    ),
    "crewai": Writer(
        frameworks.crewai,
        kinds=("chat", "tool", "agent", "workflow", "retriever"),
        lacks=_AUDIO | {"session of models", "call_id of tools", "zeros", "totals"},
    ),
    "pydantic-ai": Writer(
        frameworks.pydantic_ai, kinds=("chat", "embeddings", "tool", "agent"), lacks=frozenset({"zeros"})
    ),
    "logfire": Writer(instrumentors.logfire, kinds=("chat", "embeddings")),
    "mcp client": Writer(frameworks.mcp_client, kinds=("tool",), lacks=_NO_IDS),
    "mcp server": Writer(frameworks.mcp_server, kinds=("tool",), lacks=_NO_IDS),
    "fastmcp": Writer(frameworks.fastmcp, kinds=("tool",), lacks=_NO_IDS),
}
"""By the name that tests show."""
