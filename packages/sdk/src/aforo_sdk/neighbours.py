"""Who else tells of the same calls, and which variables silence whom: what each means for the bill.

Nothing is imported. A sentence here says what the collector makes of the spans of an instrumentation; the
matrix of the tests holds the collector to it.
"""

import sys
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Final

from aforo_sdk.frameworks import Installed, holds, normalized
from aforo_sdk.settings import DEFAULT_ENDPOINT, Destination, traces_url

_SAME: Final = "Tells of the same model and tool calls; each is billed once."
_ANY: Final = "Model and tool calls among its spans are billed once each; other spans bill nothing."
_CLIENT: Final = "Tells of the client's model calls, not of tools; each is billed once."
_SERVICE: Final = "Sends to its own service: the bill does not see it."
_NO_TOKENS: Final = "Alone, tokens are unknown: flagged."
_NO_REASONING: Final = "Alone, reasoning stays within output: flagged."

INSTRUMENTATIONS: Final[Mapping[str, str]] = {
    "agentops": _SERVICE,
    "langfuse": _SERVICE,
    "langsmith": "Comes with LangChain. Sends to LangSmith, where that is switched on: the bill does not see it.",
    "logfire": "Sends to Logfire. Model and tool calls that it tells of here as well are billed once each.",
    "openinference-instrumentation-autogen-agentchat": f"{_SAME} Alone, streams have no tokens: flagged.",
    "openinference-instrumentation-crewai": f"Tells of tools, not of model calls. {_NO_TOKENS}",
    "openinference-instrumentation-langchain": _SAME,
    "openinference-instrumentation-mcp": "Carries the trace from client to server; makes no spans.",
    "openinference-instrumentation-openai": _CLIENT,
    "openlit": _ANY,
    "opentelemetry-instrumentation-crewai": (
        f"Tells of crews and agents, whose totals are never billed, not of tools or model calls. {_NO_TOKENS}"
    ),
    "opentelemetry-instrumentation-genai-langchain": _SAME,
    "opentelemetry-instrumentation-genai-openai": _CLIENT,
    "opentelemetry-instrumentation-langchain": f"{_SAME} {_NO_REASONING}",
    "opentelemetry-instrumentation-mcp": "Tells of the same calls of tools; each is billed once.",
    "opentelemetry-instrumentation-openai": f"{_CLIENT} {_NO_REASONING}",
    "opentelemetry-instrumentation-openai-v2": _CLIENT,
    "traceloop-sdk": "Switches on OpenLLMetry's instrumentations, and sends their spans where it is told to.",
}
"""By distribution: what an instrumentation means for the bill."""

PREFIXES: Final = ("openinference-instrumentation-", "opentelemetry-instrumentation-")

_UNASKED: Final = "to the application's tracing, unasked"

BUILT_IN: Final[Mapping[str, tuple[str, str]]] = {
    "ag2": ("", f"Its TelemetryMiddleware: {_SAME.lower()}"),
    "autogen-core": (
        "",
        f"Writes spans of agents and tools {_UNASKED}; each tool call is billed once. {_NO_TOKENS}",
    ),
    "crewai": (
        "",
        f"Its product telemetry bills nothing. Its TraceSession: {_SAME.lower()}",
    ),
    "fastmcp": ("", f"Writes spans of tool calls {_UNASKED}; each call is billed once."),
    "mcp": (">=2", f"Writes spans of every request {_UNASKED}; each call of a tool is billed once."),
    "pydantic-ai-slim": ("", _SAME),
}
"""Frameworks that trace themselves: the versions that do ("" = all), and what that means for the bill."""

_HERE: Final = (
    "Where others send their spans, unless they are told otherwise: here. Each call is billed once."
)
_ELSEWHERE: Final = (
    "Where others send their spans, unless they are told otherwise: not here, so they bill nothing."
)


def _is_on(value: str) -> bool:
    return value in ("true", "1", "yes")


def _is_off(value: str) -> bool:
    return value in ("false", "0", "no")


def _is_set(_: str) -> bool:
    return True


_FEWER: Final = "Others' spans lose their oldest attributes, which say what the call was."
_QUIET: Final = "CrewAI's product telemetry is off, which bills nothing anyway."

VARIABLES: Final[Mapping[str, tuple[Callable[[str], bool], str]]] = {
    "OTEL_SDK_DISABLED": (_is_on, "Others write no spans at all."),
    "OTEL_TRACES_SAMPLER": (
        lambda value: value not in ("always_on", "parentbased_always_on"),
        "Others leave out calls, which then only a plugin can tell of.",
    ),
    "OTEL_TRACES_EXPORTER": (lambda value: value != "otlp", "Others' spans may go nowhere."),
    "OTEL_EXPORTER_OTLP_PROTOCOL": (
        lambda value: value == "grpc",
        "The collector speaks OTLP over HTTP: what others send by gRPC does not arrive.",
    ),
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": (_is_set, _FEWER),
    "OTEL_ATTRIBUTE_COUNT_LIMIT": (_is_set, _FEWER),
    "OPENINFERENCE_HIDE_OUTPUTS": (
        _is_on,
        "OpenInference hides response ids: its calls are told apart by tokens and time only.",
    ),
    "TRACELOOP_TRACE_CONTENT": (
        _is_off,
        "OpenLLMetry hides tool call ids: its calls are told apart by name and time only.",
    ),
    "CREWAI_DISABLE_TELEMETRY": (_is_on, _QUIET),
    "CREWAI_DISABLE_TRACKING": (_is_on, _QUIET),
    "AUTOGEN_DISABLE_RUNTIME_TRACING": (
        _is_on,
        "AutoGen's own spans of its runtime are off, which bill nothing anyway.",
    ),
}
"""Which values of a variable (in lower case) matter, and what they do to others. None of them touches ours."""


def others(present: Installed, *, inside: bool) -> dict[str, dict[str, object]]:
    """The instrumentations among `present` that are not ours, by name, and what each means for the bill.

    `active` says whether one is switched on in the process that runs this: None where it does not say so
    itself, and if `inside` is False, because it is asked for another process.
    """
    active = _active() if inside else {}
    found: dict[str, dict[str, object]] = {}
    for name, one in sorted(present.items()):
        if name in INSTRUMENTATIONS or name.startswith(PREFIXES):
            meaning = INSTRUMENTATIONS.get(name, _ANY)
            found[name] = {"version": one.version, "active": active.get(name), "meaning": meaning}
    for name, (versions, meaning) in BUILT_IN.items():
        if name in present and holds(versions, present[name].version):
            version = present[name].version
            found[f"{name} itself"] = {"version": version, "active": None, "meaning": meaning}
    return found


def variables(environment: Mapping[str, str], destination: Destination) -> dict[str, dict[str, object]]:
    """The variables of an environment that change what others tell of calls, by name, and what each means.

    The first entry is where others send their spans.
    """
    name, value, origin = _exporters(environment)
    comes_here = (value if "_TRACES_" in name else traces_url(value)) == destination.traces_url
    found: dict[str, dict[str, object]] = {
        name: {"value": value, "from": origin, "meaning": _HERE if comes_here else _ELSEWHERE}
    }
    for name, (matters, meaning) in VARIABLES.items():
        value = environment.get(name, "").strip()
        if value and matters(value.lower()):
            entry = {"value": value, "from": "environment", "meaning": f"{meaning} Ours are not affected."}
            found[name] = dict(entry)
    return found


def _exporters(environment: Mapping[str, str]) -> tuple[str, str, str]:
    """Where exporters send that nobody told otherwise: the variable, the address, and where that came from."""
    for name in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        if value := environment.get(name, "").strip():
            return name, value, "environment"
    return "OTEL_EXPORTER_OTLP_ENDPOINT", DEFAULT_ENDPOINT, "default"


def _active() -> dict[str, bool]:
    """Which of OpenTelemetry's instrumentors, by distribution, say that they are switched on."""
    found: dict[str, bool] = {}
    for point in entry_points(group="opentelemetry_instrumentor"):
        if point.dist is not None:
            instrumentor = getattr(sys.modules.get(point.module), point.attr, None)
            one = getattr(instrumentor, "_instance", None)
            found[normalized(point.dist.name)] = bool(getattr(one, "is_instrumented_by_opentelemetry", False))
    return found
