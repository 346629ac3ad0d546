"""What each combination of instrumentations gives: data, the one source of the table in the README.

python -m tests.matrix.expectations        # prints that table
"""

import importlib.util
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import version

from tests.matrix.instrumentations import CLIENT, FRAMEWORK, OURS, PLUGIN


class Models(Enum):
    """What is billed of the model calls."""

    EXACT = "exact"
    """Every token that the server served, in its pool."""
    TOTALS = "exact in sum, reasoning within output, flagged"
    """Every token, but nobody says which of the output was reasoning: such calls are flagged."""
    FLAGGED = "exact where the provider told, else flagged"
    """Nobody asked for the usage of streams: those calls are flagged, the others exact."""
    UNKNOWN = "none told, flagged"
    """Agents ran and nobody says what they used."""
    UNSEEN = "not seen"
    """Only tools are instrumented."""


class Tools(Enum):
    """What is billed of the tool calls."""

    EXACT = "exact"
    UNSEEN = "not seen"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a combination gives; the same in both settings."""

    models: Models = Models.EXACT
    tools: Tools = Tools.EXACT


EXACT = Expected()
CLIENT_ONLY = Expected(tools=Tools.UNSEEN)
CLIENT_TOTALS = Expected(Models.TOTALS, Tools.UNSEEN)
FLAGGED = Expected(Models.FLAGGED)
UNKNOWN = Expected(Models.UNKNOWN)
TOOLS_ONLY = Expected(Models.UNSEEN)

EXPECTED: dict[str, dict[str, Expected]] = {
    "langchain": {
        "ours": EXACT,
        "ours+openinference": EXACT,
        "ours+openllmetry": EXACT,
        "ours+otel": EXACT,
        "ours+openinference-openai": EXACT,
        "ours+openllmetry-openai": EXACT,
        "ours+otel-openai": EXACT,
        "ours+openinference+openinference-openai": EXACT,
        "openinference": EXACT,
        "openllmetry": Expected(Models.TOTALS),
        "otel": EXACT,
        "openinference+openinference-openai": EXACT,
        "otel+otel-openai": EXACT,
        "openinference-openai": CLIENT_ONLY,
        "openllmetry-openai": CLIENT_TOTALS,
        "otel-openai": CLIENT_ONLY,
    },
    "crewai": {
        "ours": EXACT,
        "ours+native": EXACT,
        "ours+openinference": EXACT,
        "ours+openllmetry": EXACT,
        "ours+openinference-openai": EXACT,
        "ours+openllmetry-openai": EXACT,
        "ours+otel-openai": EXACT,
        "native": EXACT,
        "openinference": UNKNOWN,
        "openllmetry": Expected(Models.UNKNOWN, Tools.UNSEEN),
        "openinference+openinference-openai": EXACT,
        "openllmetry+openllmetry-openai": CLIENT_TOTALS,
        "openinference-openai": CLIENT_ONLY,
        "openllmetry-openai": CLIENT_TOTALS,
        "otel-openai": CLIENT_ONLY,
    },
    "autogen": {
        "ours": EXACT,
        "ours+native": EXACT,
        "ours+openinference": EXACT,
        "ours+openinference-openai": EXACT,
        "ours+openllmetry-openai": EXACT,
        "ours+otel-openai": EXACT,
        "native": UNKNOWN,
        "openinference": FLAGGED,
        "openinference+openinference-openai": FLAGGED,
        "openinference-openai": FLAGGED,
        "openllmetry-openai": FLAGGED,
        "otel-openai": FLAGGED,
    },
    "ag2": {
        "ours": EXACT,
        "ours+native": EXACT,
        "ours+openinference-openai": EXACT,
        "ours+openllmetry-openai": EXACT,
        "ours+otel-openai": EXACT,
        "native": EXACT,
        "native+openinference-openai": EXACT,
        "openinference-openai": CLIENT_ONLY,
        "openllmetry-openai": CLIENT_TOTALS,
        "otel-openai": CLIENT_ONLY,
    },
    "mcp": {
        "ours": TOOLS_ONLY,
        "proxy": TOOLS_ONLY,
        "ours+proxy": TOOLS_ONLY,
        "ours+native": TOOLS_ONLY,
        "ours+proxy+native": TOOLS_ONLY,
        "ours+openinference": TOOLS_ONLY,
        "ours+openllmetry": TOOLS_ONLY,
        "ours+openinference+openinference-openai": EXACT,
        "ours+proxy+openllmetry-openai": Expected(Models.TOTALS),
        "ours+otel-openai": EXACT,
        "native": TOOLS_ONLY,
        "openinference": TOOLS_ONLY,
        "openllmetry": TOOLS_ONLY,
        "openinference-openai": EXACT,
    },
    "pydantic_ai": {
        "native": EXACT,
        "native+openinference-openai": EXACT,
        "native+openllmetry-openai": EXACT,
        "native+otel-openai": EXACT,
        "openinference-openai": CLIENT_ONLY,
        "openllmetry-openai": CLIENT_TOTALS,
        "otel-openai": CLIENT_ONLY,
    },
}
"""By framework and combination. A framework's own tracing (`native`) is on wherever AutoGen or MCP meet the
tracing of an application, whether it is named or not: they write to it unasked. OpenLLMetry's instrumentation of
MCP knows the SDK 1.x only, so it is met in the environment that has that.
"""
NEEDS = {
    "langchain": ["langchain.agents", "langchain_openai"],
    "crewai": ["crewai"],
    "autogen": ["autogen_agentchat", "autogen_ext.models.openai"],
    "ag2": ["ag2"],
    "mcp": ["fastmcp"],
    "pydantic_ai": ["pydantic_ai"],
}
"""What a scenario imports."""
OPENAI_MIN = {"ag2": 3}
"""The openai release that a framework's client needs."""
NAMES = {
    "langchain": "LangChain", "crewai": "CrewAI", "autogen": "AutoGen", "ag2": "AG2", "mcp": "MCP",
    "pydantic_ai": "Pydantic AI", "ours": "ours", "proxy": "`aforo mcp-proxy`", "native": "its own tracing",
    "openinference": "OpenInference", "openllmetry": "OpenLLMetry", "otel": "OTel",
    "openinference-openai": "OpenInference (client)", "openllmetry-openai": "OpenLLMetry (client)",
    "otel-openai": "OTel (client)",
}  # fmt: skip


def possible() -> list[tuple[str, str]]:
    """The (framework, combination) that the environment has everything for."""
    return [
        (framework, combination)
        for framework, combinations in EXPECTED.items()
        if all(_there(module) for module in NEEDS[framework])
        and int(version("openai").partition(".")[0]) >= OPENAI_MIN.get(framework, 0)
        for combination in combinations
        if all(_there(module) for module in _modules(framework, combination))
    ]


def table() -> str:
    """The table of the README, in Markdown: for each framework a row for each outcome."""
    lines = ["| framework | instrumented by | tokens and cost | tool calls |", "|---|---|---|---|"]
    for framework, combinations in EXPECTED.items():
        outcomes: dict[Expected, list[str]] = {}
        for combination, expected in combinations.items():
            names = " + ".join(NAMES[name] for name in combination.split("+"))
            outcomes.setdefault(expected, []).append(names)
        for expected, alike in outcomes.items():
            cells = (NAMES[framework], " · ".join(alike), expected.models.value, expected.tools.value)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _modules(framework: str, combination: str) -> list[str]:
    known = CLIENT | FRAMEWORK[framework]
    modules = [known[name].partition(":")[0] for name in combination.split("+") if name in known]
    if OURS & set(combination.split("+")):
        modules.append(PLUGIN.get(framework, "aforo_mcp"))
    return modules


def _there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


if __name__ == "__main__":
    print(table(), end="")
