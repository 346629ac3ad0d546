"""Who may import whom: the layers of the collector, the bounds of the distributions, the pure core."""

import ast
import sys
from collections.abc import Iterator, Mapping

from tests.tidy.distributions import normalized
from tests.tidy.sources import Import, Source, imports

LAYERS = {
    "domain": 0,
    "pipeline": 1,
    "dialects": 1,
    "views": 1,
    "doors": 2,
    "store": 2,
    "prices": 2,
    "delivery": 2,
    "documents": 2,
    "service": 3,
    "settings": 3,  # values that the shells read and nothing below them knows
    "api": 4,
    "web": 4,
    "jobs": 4,
    "app": 5,
    "cli": 6,
    "__main__": 6,
}

FRAMEWORKS = frozenset(
    "ag2 autogen autogen_agentchat autogen_core autogen_ext crewai fastmcp langchain langchain_core langgraph"
    " mcp".split()
)

SHARED_OF_SDK = frozenset({"aforo_sdk.conventions", "aforo_sdk.cli"})

PURE_UNITS = frozenset({"domain", "pipeline", "dialects", "views"})

IMPURE_MODULES = frozenset(
    "asyncio concurrent ctypes http io logging mmap multiprocessing os pathlib random secrets select "
    "selectors shutil signal socket sqlite3 ssl subprocess tempfile threading time urllib uuid".split()
)

IMPURE_BUILTINS = frozenset({"open", "input", "print", "exec", "eval", "__import__"})

CLOCK_METHODS = frozenset({"now", "utcnow", "today"})


def layers_point_down(source: Source) -> Iterator[str]:
    """A module of the collector imports its own unit and lower layers; neighbours in a layer do not meet."""
    if source.package != "aforo_collector" or not source.unit:
        return
    own = LAYERS.get(source.unit)
    if own is None:
        yield f"{source.path}: no layer is named for `{source.unit}`"
        return
    for imported in imports(source):
        unit = _unit_of(imported)
        if unit == source.unit or (source.unit, unit) == ("__main__", "cli"):
            continue
        if LAYERS.get(unit, -1) >= own:
            yield f"{source.path}:{imported.line}: {source.unit} imports {unit}, which is not below it"


def _unit_of(imported: Import) -> str:
    if imported.top != "aforo_collector":
        return ""
    return [*imported.module.split("."), imported.member][1]


def distributions_stay_apart(source: Source) -> Iterator[str]:
    """The SDK imports no sibling, a plugin only the SDK, the collector the SDK's names and dispatcher."""
    for imported in imports(source):
        if imported.top == source.package or not imported.top.startswith("aforo_"):
            continue
        if not _may_import(source, imported):
            yield f"{source.path}:{imported.line}: {source.package} imports {imported.module}"


def _may_import(source: Source, imported: Import) -> bool:
    if source.package == "aforo_collector":
        shared = {imported.module, f"{imported.module}.{imported.member}"} & SHARED_OF_SDK
        return bool(shared) or is_demo(source)
    return source.package != "aforo_sdk" and imported.top == "aforo_sdk"


def is_demo(source: Source) -> bool:
    """Whether the module belongs to `aforo demo`, which is a user of the other distributions."""
    return source.name.startswith("aforo_collector.cli.demo")


def collector_is_framework_free(source: Source) -> Iterator[str]:
    """Only the demo of the collector imports an agent framework."""
    if source.package != "aforo_collector" or is_demo(source):
        return
    for imported in imports(source):
        if imported.top in FRAMEWORKS:
            yield f"{source.path}:{imported.line}: the collector imports the framework {imported.top}"


def core_is_self_contained(source: Source) -> Iterator[str]:
    """`domain` imports the standard library only; the other pure units the domain and the SDK's names too."""
    if source.package != "aforo_collector" or source.unit not in PURE_UNITS:
        return
    for imported in imports(source):
        if imported.top == "aforo_collector" or imported.top in sys.stdlib_module_names:
            continue
        if source.unit == "domain" or imported.top != "aforo_sdk":
            yield f"{source.path}:{imported.line}: {source.unit} imports {imported.top}"


def core_is_pure(source: Source) -> Iterator[str]:
    """The pure units reach no clock, environment, randomness or I/O: time and randomness are arguments."""
    if source.package != "aforo_collector" or source.unit not in PURE_UNITS:
        return
    for imported in imports(source):
        if imported.top in IMPURE_MODULES:
            yield f"{source.path}:{imported.line}: {source.unit} imports {imported.module}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in IMPURE_BUILTINS:
                yield f"{source.where(node)}: {source.unit} calls {node.func.id}()"
            if isinstance(node.func, ast.Attribute) and node.func.attr in CLOCK_METHODS:
                yield f"{source.where(node)}: {source.unit} reads the clock through .{node.func.attr}()"


def dependencies_are_declared(
    source: Source, declared: frozenset[str], providers: Mapping[str, list[str]]
) -> Iterator[str]:
    """A distribution imports only what it declares, so that it runs when it is installed alone.

    `declared` holds the distributions that it requires, `providers` who provides which top-level package.
    """
    for imported in imports(source):
        top = imported.top
        if top in sys.stdlib_module_names or top == source.package:
            continue
        if not declared.intersection(normalized(name) for name in providers.get(top, [])):
            yield f"{source.path}:{imported.line}: {source.package} does not declare that it needs {top}"
