"""Which agent frameworks are installed, which plugin meters each, and whether it does so now.

Nothing is imported: versions and ranges are read from the metadata of what is installed. A plugin that meters
a whole process says whether it does in `instrumented()` of its module `instrumentor`, and is asked only where
the program has imported it.
"""

import operator
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from typing import Final


@dataclass(frozen=True, slots=True)
class Framework:
    """A framework, as a distribution, and the plugin that meters it ("" = none does).

    `switch` is the call that meters the whole process, `by_hand` what meters a part of it; either may be "".
    """

    distribution: str
    plugin: str = ""
    switch: str = ""
    by_hand: str = ""


_LANGCHAIN: Final = ("aforo-langchain", "aforo_langchain.instrument()", "an AforoCallbackHandler")
_MCP: Final = ("aforo-mcp", "", "AforoMiddleware, @metered_tool or `aforo mcp-proxy`")

FRAMEWORKS: Final = (
    Framework("langchain-core", *_LANGCHAIN),
    Framework("langgraph", *_LANGCHAIN),
    Framework("crewai", "aforo-crewai", "aforo_crewai.instrument()"),
    Framework("autogen-core", "aforo-autogen", "aforo_autogen.instrument()"),
    Framework("autogen-agentchat", "aforo-autogen", "aforo_autogen.instrument()"),
    Framework("ag2", "aforo-autogen", "aforo_autogen.instrument()", "AforoAG2Middleware"),
    Framework("mcp", *_MCP),
    Framework("fastmcp", *_MCP),
    Framework("pydantic-ai", switch="Agent.instrument_all()"),
    Framework("pydantic-ai-slim", switch="Agent.instrument_all()"),
    Framework("openai"),
    Framework("anthropic"),
)

_COMPARISONS: Final[Mapping[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}

Installed = Mapping[str, Distribution]
"""What is installed, by normalized name."""


def installed() -> dict[str, Distribution]:
    """Every installed distribution, by normalized name; of several of one name the one that is imported."""
    found: dict[str, Distribution] = {}
    for one in distributions():
        name = one.metadata["Name"]
        if name:
            found.setdefault(normalized(name), one)
    return found


def described(present: Installed, *, inside: bool) -> dict[str, dict[str, object]]:
    """What is to be said of each framework among `present`, by name.

    `tested` is the range of versions that its plugin claims, `instrumented` whether the plugin meters the whole
    process that runs this: None where that is nobody's to say, and if `inside` is False, because it is asked
    for another process.
    """
    return {
        framework.distribution: _described(framework, present, inside)
        for framework in FRAMEWORKS
        if framework.distribution in present
    }


def holds(versions: str, version: str) -> bool:
    """Whether `version` is within a range such as `>=1.7,<2`. Only numbers count: a release candidate passes
    for its release.
    """
    numbers = _numbers(version)
    comparisons = re.findall(r"(>=|<=|==|<|>)\s*([0-9.]+)", versions)
    return all(_COMPARISONS[sign](numbers, _numbers(bound)) for sign, bound in comparisons)


def _described(framework: Framework, present: Installed, inside: bool) -> dict[str, object]:
    version = present[framework.distribution].version
    plugin = present.get(framework.plugin)
    tested = _range_of(plugin, framework.distribution) if plugin is not None else None
    in_range = None if tested is None else holds(tested, version)
    metered = _instrumented(framework) if inside and plugin is not None else None
    meaning = _meaning(framework, plugin is not None, metered, inside)
    if in_range:
        meaning = f"Tested with {tested}. {meaning}"
    elif tested is not None:
        meaning = (
            f"Not what {framework.plugin} is tested with ({tested}): it warns of what it misses. {meaning}"
        )
    return {
        "version": version,
        "plugin": framework.plugin or None,
        "plugin_version": plugin.version if plugin is not None else None,
        "tested": tested,
        "in_range": in_range,
        "instrumented": metered,
        "meaning": meaning,
    }


def _meaning(framework: Framework, has_plugin: bool, metered: bool | None, inside: bool) -> str:
    switch, by_hand = framework.switch, framework.by_hand
    if not framework.plugin:
        if switch:
            return (
                f"Tells of its calls itself after {switch}; they are billed if its spans reach the collector."
            )
        return "Metered in the frameworks that call it; direct calls need an instrumentation of the client."
    if not has_plugin:
        return f"Not metered. Install {framework.plugin} and {_ways('call', 'use', framework)}."
    package = _package(framework)
    if metered:
        return f"Metered: {switch} is in force."
    if inside and package not in sys.modules:
        return f"Not metered by this process: it has not imported {package}."
    if inside and switch:
        return f"Not metered{f' without {by_hand}' if by_hand else ''}: {switch} is not in force."
    return f"Metered where a program {_ways('calls', 'uses', framework)}."


def _ways(call: str, use: str, framework: Framework) -> str:
    calling = [f"{call} {framework.switch}"] if framework.switch else []
    using = [f"{use} {framework.by_hand}"] if framework.by_hand else []
    return " or ".join(calling + using)


def _instrumented(framework: Framework) -> bool | None:
    """Whether the plugin meters the whole process; None for one that never does."""
    if not framework.switch:
        return None
    ask = getattr(sys.modules.get(f"{_package(framework)}.instrumentor"), "instrumented", None)
    return bool(ask()) if callable(ask) else False


def _package(framework: Framework) -> str:
    return framework.plugin.replace("-", "_")


def _range_of(plugin: Distribution, name: str) -> str | None:
    """The versions of `name` that a plugin requires, extras included, lower bound first; None if it does not."""
    for requirement in plugin.requires or ():
        found = re.match(r"\s*([A-Za-z0-9._-]+)\s*(?:\[[^]]*])?\s*\(?([^;)]*)", requirement)
        if found and normalized(found[1]) == name and found[2].strip():
            return ",".join(sorted((one.strip() for one in found[2].split(",")), reverse=True))
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version, to be compared: trailing zeros mean nothing."""
    found = re.match(r"[0-9]+(\.[0-9]+)*", version)
    parts = [int(part) for part in found[0].split(".")] if found else []
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts)


def normalized(name: str) -> str:
    """The name of a distribution as they are compared: lower case, single hyphens."""
    return re.sub(r"[-_.]+", "-", name).lower()
