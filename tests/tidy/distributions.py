"""What every distribution of the workspace carries, and how its versions are pinned."""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.tidy.sources import ROOT, Source, imported_modules

ENVIRONMENTS = {"packages/crewai": "tests/environments/crewai"}
"""Distributions that cannot share the workspace's versions → where theirs are pinned."""

TAKEN_NAMES = frozenset({"aforo", "aforo-mcp-metering", "aforo-agent-metering"})

PIN = re.compile(r"[a-z0-9-]+==[0-9][0-9a-z.]*")


@dataclass(frozen=True, slots=True)
class Distribution:
    """One distribution of the repository: its folder and the `[project]` table of its pyproject.toml."""

    folder: Path
    project: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name under which it is installed."""
        return str(self.project["name"])

    @property
    def package(self) -> str:
        """The name under which it is imported."""
        return self.name.replace("-", "_")

    @property
    def source_folder(self) -> Path:
        """Where the import package stands."""
        return self.folder / "src" / self.package

    @property
    def environment(self) -> Path:
        """The folder whose pyproject.toml pins what it is tested with."""
        return ROOT / ENVIRONMENTS.get(self.folder.relative_to(ROOT).as_posix(), "")

    @property
    def requirements(self) -> frozenset[str]:
        """Names of the distributions that it requires, those of its extras included."""
        extras = self.project.get("optional-dependencies", {}).values()
        every = [*self.project.get("dependencies", []), *(text for extra in extras for text in extra)]
        return frozenset(normalized(re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0]) for text in every)

    @property
    def commands(self) -> Mapping[str, str]:
        """Word after `aforo` → `module:callable`."""
        return dict(self.project.get("entry-points", {}).get("aforo.commands", {}))

    @property
    def entry_modules(self) -> frozenset[str]:
        """Modules that an installed command starts in."""
        starts = [*self.commands.values(), *self.project.get("scripts", {}).values()]
        return frozenset(start.partition(":")[0] for start in starts)


def normalized(name: str) -> str:
    """The name of a distribution as registries compare it: lower case, single hyphens."""
    return re.sub(r"[-_.]+", "-", name).lower()


def workspace() -> Mapping[str, Any]:
    """The root pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def distributions() -> tuple[Distribution, ...]:
    """Every distribution: the workspace's in its order, then those of environments of their own."""
    members = [ROOT / member for member in workspace()["tool"]["uv"]["workspace"]["members"]]
    folders = [*members, *(ROOT / folder for folder in ENVIRONMENTS)]
    return tuple(
        Distribution(folder, tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"])
        for folder in folders
    )


def current_environment() -> Path:
    """The folder whose pyproject.toml pins the environment that runs this."""
    found = Path(sys.prefix).parent
    return found if (found / "pyproject.toml").is_file() and found != ROOT else ROOT


def pins(folder: Path = ROOT) -> dict[str, str]:
    """Distribution name → the one version that the environment of `folder` resolves to."""
    text = (folder / "pyproject.toml").read_text("utf-8")
    return dict(pin.split("==") for pin in tomllib.loads(text)["tool"]["uv"]["constraint-dependencies"])


def carries_its_papers(distribution: Distribution, version: str, license_text: str) -> Iterator[str]:
    """A distribution has README, licence, `py.typed`, the workspace's version, and a name that is free."""
    for path in (distribution.folder / "README.md", distribution.folder / "LICENSE"):
        if not path.is_file() or not path.read_text("utf-8").strip():
            yield f"{distribution.name}: {path.name} is missing or empty"
    if (licence := distribution.folder / "LICENSE").is_file() and licence.read_text("utf-8") != license_text:
        yield f"{distribution.name}: LICENSE differs from that of the repository"
    if not (distribution.source_folder / "py.typed").is_file():
        yield f"{distribution.name}: py.typed is missing"
    expected = {
        "version": version,
        "license": "Apache-2.0",
        "readme": "README.md",
        "requires-python": ">=3.11",
    }
    for key, value in expected.items():
        if distribution.project.get(key) != value:
            yield f"{distribution.name}: {key} is {distribution.project.get(key)!r}, not {value!r}"
    if distribution.name in TAKEN_NAMES:
        yield f"{distribution.name}: the name belongs to another package"


def requires_siblings_in_lock_step(distribution: Distribution, version: str) -> Iterator[str]:
    """A distribution requires its siblings at exactly its own version."""
    extras = distribution.project.get("optional-dependencies", {}).values()
    for text in [
        *distribution.project.get("dependencies", []),
        *(text for extra in extras for text in extra),
    ]:
        if text.startswith("aforo-") and not text.endswith(f"=={version}"):
            yield f"{distribution.name}: requires {text}, not =={version}"


def pin_is_exact(pin: str) -> Iterator[str]:
    """A pin is a name, two equals signs and a version: no range, no address, no marker."""
    if not PIN.fullmatch(pin):
        yield f"{pin} is not name==version"


def environment_is_pinned(
    installed: Mapping[str, str], pinned: Mapping[str, str], own: frozenset[str]
) -> Iterator[str]:
    """What is installed beside our own distributions is what the pins name."""
    for name, version in sorted(installed.items()):
        if name not in own and pinned.get(name) != version:
            yield f"{name} {version} is installed, the pins say {pinned.get(name)}"


def modules_are_used(sources: tuple[Source, ...], entry_modules: frozenset[str]) -> Iterator[str]:
    """Every shipped module is imported by another one or is where a command starts."""
    known = frozenset(source.name for source in sources)
    used = set(entry_modules)
    for source in sources:
        used |= imported_modules(source, known) - {source.name}
    for source in sources:
        if not source.is_package and source.name not in used and not source.name.endswith("__main__"):
            yield f"{source.path}: no module imports it and no command starts in it"
