"""The ranges that the SDK and the plugins claim are as wide as what they are tested with, at both ends."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tidy.distributions import Distribution, distributions, normalized, pins
from tests.tidy.sources import ROOT

OLDEST = sorted(Path(__file__).parent.glob("oldest*"))
NEWEST = [ROOT, Path(__file__).parent / "crewai"]
PUBLISHED = [each for each in distributions() if each.folder.parent.name == "packages"]


def bounds(distribution: Distribution) -> Iterator[tuple[str, str, str]]:
    """(name, lower bound, upper bound) of everything that a distribution requires, extras included, but for its
    siblings; a bound that is not there is "0".
    """
    extras = distribution.project.get("optional-dependencies", {}).values()
    for text in [*distribution.project["dependencies"], *(text for extra in extras for text in extra)]:
        name = normalized(re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0])
        if not name.startswith("aforo-"):
            lower, upper = (re.search(rf"{sign}\s*([0-9.]+)", text) for sign in (">=", "<"))
            yield name, lower[1] if lower else "0", upper[1] if upper else "0"


def is_release(version: str, bound: str) -> bool:
    """Whether `version` is the first release that `bound` lets in: 0.7.0 for 0.7."""
    return re.fullmatch(rf"{re.escape(bound)}(\.0)*", version) is not None


def numbers(version: str) -> list[int]:
    """What versions are compared by."""
    return [int(part) for part in version.split(".")]


def line_after(version: str) -> str:
    """The first release that may break what holds for `version`: 2 after 1.25.1, 0.8 after 0.7.5."""
    major, minor, *_ = numbers(version)
    return str(major + 1) if major else f"0.{minor + 1}"


@pytest.mark.parametrize("distribution", PUBLISHED, ids=lambda distribution: distribution.name)
def test_what_is_claimed_is_what_is_tested(distribution: Distribution) -> None:
    """Each lower bound is the version that one of the oldest environments pins."""
    tested = [pins(folder) for folder in OLDEST]
    untested = [
        f"{name}>={bound}: the oldest tested is {[one[name] for one in tested if name in one]}"
        for name, bound, _ in bounds(distribution)
        if not any(is_release(one.get(name, ""), bound) for one in tested)
    ]

    assert not untested, "\n".join(untested)


@pytest.mark.parametrize("distribution", PUBLISHED, ids=lambda distribution: distribution.name)
def test_nothing_newer_is_claimed(distribution: Distribution) -> None:
    """Each upper bound is the line of releases after the newest version that is tested."""
    tested = [pins(folder) for folder in NEWEST]
    wrong = [
        f"{name}<{bound}: the newest tested is {newest}"
        for name, _, bound in bounds(distribution)
        for newest in [max((one[name] for one in tested if name in one), key=numbers)]
        if bound != line_after(newest)
    ]

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", OLDEST, ids=lambda folder: folder.name)
def test_an_environment_of_the_oldest_asks_for_what_it_pins(folder: Path) -> None:
    """What an environment wants at a version of its own is what its pins hold."""
    wanted = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    exact = [re.sub(r"\[.*?\]", "", text).split("==") for text in wanted if "==" in text]

    assert exact
    assert {name: pins(folder)[name] for name, _ in exact} == dict(exact)
