"""The instrumentations of the matrix, each switched on as its own documentation says.

A combination is a list of these names:

* `ours`: the plugin for the framework, over `aforo_sdk`; `proxy`: `aforo mcp-proxy` before the MCP server;
* `openinference`, `openllmetry`, `otel`: the framework's instrumentation of that project;
* `openinference-openai`, `openllmetry-openai`, `otel-openai`: its instrumentation of the provider's client;
* `native`: what the framework brings itself. It is switched on by the scenario, where it needs to be.
"""

import importlib

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

OURS = {"ours", "proxy"}
CLIENT = {
    "openinference-openai": "openinference.instrumentation.openai:OpenAIInstrumentor",
    "openllmetry-openai": "opentelemetry.instrumentation.openai:OpenAIInstrumentor",
    "otel-openai": "opentelemetry.instrumentation.genai.openai:OpenAIInstrumentor",
}
FRAMEWORK = {
    "langchain": {
        "openinference": "openinference.instrumentation.langchain:LangChainInstrumentor",
        "openllmetry": "opentelemetry.instrumentation.langchain:LangchainInstrumentor",
        "otel": "opentelemetry.instrumentation.genai.langchain:LangChainInstrumentor",
    },
    "crewai": {
        "openinference": "openinference.instrumentation.crewai:CrewAIInstrumentor",
        "openllmetry": "opentelemetry.instrumentation.crewai:CrewAIInstrumentor",
    },
    "autogen": {
        "openinference": "openinference.instrumentation.autogen_agentchat:AutogenAgentChatInstrumentor",
    },
    "ag2": {},
    "mcp": {
        "openinference": "openinference.instrumentation.mcp:MCPInstrumentor",
        "openllmetry": "opentelemetry.instrumentation.mcp:McpInstrumentor",
    },
    "pydantic_ai": {},
}
PLUGIN = {
    "langchain": "aforo_langchain",
    "crewai": "aforo_crewai",
    "autogen": "aforo_autogen",
    "ag2": "aforo_autogen",
}
"""Frameworks that one call of a plugin meters; MCP servers are metered where they are written."""


def provide_traces(sink_url: str) -> TracerProvider:
    """The application's own tracing: a global provider that exports everything to the sink."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{sink_url}/v1/traces")))
    trace.set_tracer_provider(provider)
    return provider


def switch_on(framework: str, names: list[str], provider: TracerProvider | None) -> None:
    """Instrument this process. Raises `KeyError` for a name that the framework does not have."""
    for name in names:
        if name == "ours":
            if framework in PLUGIN:
                importlib.import_module(PLUGIN[framework]).instrument()
        elif name not in {"native", "proxy"}:
            module, _, instrumentor = (CLIENT | FRAMEWORK[framework])[name].partition(":")
            getattr(importlib.import_module(module), instrumentor)().instrument(tracer_provider=provider)
