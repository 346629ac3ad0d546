"""Every distribution carries its papers, versions are pinned, no module is dead; each rule can fail."""

from importlib import metadata
from pathlib import Path

import pytest

from tests.tidy.distributions import (
    Distribution,
    carries_its_papers,
    current_environment,
    distributions,
    environment_is_pinned,
    modules_are_used,
    normalized,
    pin_is_exact,
    pins,
    requires_siblings_in_lock_step,
    workspace,
)
from tests.tidy.sources import PACKAGE_ROOTS, ROOT, package_sources, source_of

VERSION = workspace()["project"]["version"]
LICENSE = (ROOT / "LICENSE").read_text("utf-8")
INSTALLERS = {"pip", "setuptools", "wheel"}


@pytest.mark.parametrize("distribution", distributions(), ids=lambda distribution: distribution.name)
def test_each_distribution_carries_its_papers(distribution):
    """A distribution has README, licence, py.typed, the common version, and its siblings in lock-step."""
    violations = [
        *carries_its_papers(distribution, VERSION, LICENSE),
        *requires_siblings_in_lock_step(distribution, VERSION),
    ]

    assert not violations, "\n".join(violations)


def test_the_rules_know_every_distribution():
    """The packages that the import rules watch are those of the workspace."""
    members = {each.package: f"{each.folder.relative_to(ROOT).as_posix()}/src/" for each in distributions()}

    assert members == PACKAGE_ROOTS


def test_missing_papers_are_found(tmp_path):
    """An empty folder with a taken name and another version breaks every rule of papers."""
    project = {"name": "aforo", "version": "9.9.9", "dependencies": ["aforo-sdk>=0.1"]}
    empty = Distribution(Path(tmp_path), project)

    complaints = "\n".join(carries_its_papers(empty, VERSION, LICENSE))

    for word in (
        "README.md",
        "LICENSE",
        "py.typed",
        "version",
        "readme",
        "requires-python",
        "belongs to another",
    ):
        assert word in complaints
    assert list(requires_siblings_in_lock_step(empty, VERSION))


def test_a_changed_licence_is_found(tmp_path):
    """A licence that differs from the repository's is a violation."""
    (tmp_path / "LICENSE").write_text("Do as you like.")

    assert any(
        "differs" in each
        for each in carries_its_papers(Distribution(tmp_path, {"name": "x"}), VERSION, LICENSE)
    )


def test_every_pin_is_exact():
    """The constraints are names with one version each: no range, no address."""
    violations = [
        violation
        for pin in workspace()["tool"]["uv"]["constraint-dependencies"]
        for violation in pin_is_exact(pin)
    ]

    assert not violations, "\n".join(violations)


@pytest.mark.parametrize(
    "pin", ["rich>=15", "rich", "rich @ https://example.com/rich.whl", "rich==1.*", "Rich==15.0.0"]
)
def test_a_loose_pin_is_found(pin):
    """A range, a bare name, an address, a wildcard, or a name that is not normalised is a violation."""
    assert list(pin_is_exact(pin))


def test_the_environment_is_what_the_pins_name():
    """Every package that the tests run with is pinned, at the version that is installed."""
    installed = {
        normalized(distribution.name): distribution.version for distribution in metadata.distributions()
    }
    own = frozenset({each.name for each in distributions()} | INSTALLERS)
    violations = list(environment_is_pinned(installed, pins(current_environment()), own))

    assert not violations, "\n".join(violations)


def test_an_unpinned_package_is_found():
    """A package without a pin, or at another version, is a violation; our own distributions are none."""
    assert list(environment_is_pinned({"rich": "15.0.0"}, {}, frozenset()))
    assert list(environment_is_pinned({"rich": "15.0.0"}, {"rich": "14.0.0"}, frozenset()))
    assert not list(environment_is_pinned({"aforo-sdk": "0.1.0"}, {}, frozenset({"aforo-sdk"})))


def test_no_module_is_dead():
    """Every shipped module is imported by another one, or a command starts in it."""
    entry_modules = frozenset().union(*(each.entry_modules for each in distributions()))
    violations = list(modules_are_used(package_sources(), entry_modules))

    assert not violations, "\n".join(violations)


def test_every_command_has_its_module():
    """Every entry point names a module that exists."""
    known = {source.name for source in package_sources()}
    missing = [module for each in distributions() for module in sorted(each.entry_modules - known)]

    assert not missing, "\n".join(missing)


def test_a_dead_module_is_found():
    """A module that only imports itself is dead; one imported relatively, or a command's start, is not."""
    folder = "packages/sdk/src/aforo_sdk"
    texts = {"dead": "import aforo_sdk.dead", "cli": "from . import live", "live": "x = 1"}
    found = tuple(source_of(text, f"{folder}/{stem}.py") for stem, text in texts.items())

    assert list(modules_are_used(found, frozenset({"aforo_sdk.cli"}))) == [
        f"{folder}/dead.py: no module imports it and no command starts in it"
    ]
