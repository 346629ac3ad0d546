"""The files of the repository as the tidy rules see them: texts, parsed modules, and who imports whom.

A rule is a function from a `Source` (or from all of them) to the violations it finds, one sentence each.
"""

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

PACKAGE_ROOTS = {
    "aforo_sdk": "packages/sdk/src/",
    "aforo_langchain": "packages/langchain/src/",
    "aforo_crewai": "packages/crewai/src/",
    "aforo_autogen": "packages/autogen/src/",
    "aforo_mcp": "packages/mcp/src/",
    "aforo_collector": "collector/src/",
}


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file: `path` relative to the root, `name` dotted, `tree` parsed from `text`."""

    path: str
    name: str
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        """The import package of a distribution that the module belongs to, "" for tests and scripts."""
        top = self.name.partition(".")[0]
        return top if top in PACKAGE_ROOTS else ""

    @property
    def unit(self) -> str:
        """What stands directly below the package (`domain`, `store`, `app`, …), "" for the package itself."""
        return [*self.name.split("."), ""][1]

    @property
    def is_package(self) -> bool:
        """Whether the file is an `__init__`."""
        return self.path.endswith("__init__.py")

    def where(self, node: ast.AST) -> str:
        """`path:line` of a node."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}"


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name: `module` absolute, `member` "" for `import module`, `line` where it stands."""

    module: str
    member: str
    line: int

    @property
    def top(self) -> str:
        """The top-level package."""
        return self.module.partition(".")[0]


def source_of(text: str, path: str) -> Source:
    """Parse `text` as the file `path`; raises SyntaxError for what is not Python."""
    return Source(path, module_name(path), text, ast.parse(text, path))


def module_name(path: str) -> str:
    """The dotted name under which the file `path` is imported."""
    for root in PACKAGE_ROOTS.values():
        path = path.removeprefix(root)
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def files() -> tuple[str, ...]:
    """Every file of the repository, tracked or new, that is not ignored; relative to the root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode()
    return tuple(sorted(path for path in set(listed.split("\0")) if path and (ROOT / path).is_file()))


@cache
def sources() -> tuple[Source, ...]:
    """Every Python file of the repository."""
    return tuple(
        source_of((ROOT / path).read_text("utf-8"), path) for path in files() if path.endswith(".py")
    )


def package_sources() -> tuple[Source, ...]:
    """The Python files that are shipped in a distribution."""
    return tuple(source for source in sources() if source.package)


def imports(source: Source) -> Iterator[Import]:
    """Every import of a module, wherever it stands, with relative ones made absolute."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, "", node.lineno)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield Import(_absolute(source, node), alias.name, node.lineno)


def _absolute(source: Source, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = source.name.split(".")
    climb = node.level - 1 if source.is_package else node.level
    base = parts[: len(parts) - climb]
    return ".".join([*base, node.module] if node.module else base)


def imported_modules(source: Source, known: frozenset[str]) -> set[str]:
    """The modules of `known` that `source` imports; `from package import module` counts as the module."""
    found = set()
    for imported in imports(source):
        member = f"{imported.module}.{imported.member}"
        found.add(member if member in known else imported.module)
    return found & known
