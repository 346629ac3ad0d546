"""The layers of the collector and the bounds of the distributions hold, and each rule is able to fail."""

from importlib.metadata import packages_distributions

import pytest

from tests.tidy.distributions import distributions
from tests.tidy.layers import (
    collector_is_framework_free,
    core_is_pure,
    core_is_self_contained,
    dependencies_are_declared,
    distributions_stay_apart,
    layers_point_down,
)
from tests.tidy.sources import package_sources, source_of

RULES = (
    layers_point_down,
    distributions_stay_apart,
    collector_is_framework_free,
    core_is_self_contained,
    core_is_pure,
)

COLLECTOR = "collector/src/aforo_collector"

VIOLATIONS = [
    (layers_point_down, f"{COLLECTOR}/domain/span.py", "from aforo_collector.service import intake"),
    (layers_point_down, f"{COLLECTOR}/store/sqlite.py", "import aforo_collector.doors.otlp"),
    (layers_point_down, f"{COLLECTOR}/store/sqlite.py", "from ..doors import otlp"),
    (layers_point_down, f"{COLLECTOR}/api/routes.py", "from aforo_collector import app"),
    (
        layers_point_down,
        f"{COLLECTOR}/service/intake.py",
        "def late():\n    from aforo_collector.cli import serve",
    ),
    (layers_point_down, f"{COLLECTOR}/attic/old.py", "import json"),
    (distributions_stay_apart, "packages/sdk/src/aforo_sdk/spool.py", "import aforo_langchain"),
    (
        distributions_stay_apart,
        "packages/langchain/src/aforo_langchain/runs.py",
        "from aforo_collector import domain",
    ),
    (distributions_stay_apart, "packages/langchain/src/aforo_langchain/runs.py", "import aforo_crewai"),
    (distributions_stay_apart, f"{COLLECTOR}/api/routes.py", "from aforo_sdk.spool import Spool"),
    (distributions_stay_apart, f"{COLLECTOR}/api/routes.py", "import aforo_langchain"),
    (collector_is_framework_free, f"{COLLECTOR}/cli/serve.py", "from langchain_core import messages"),
    (core_is_self_contained, f"{COLLECTOR}/domain/cost.py", "import genai_prices"),
    (core_is_self_contained, f"{COLLECTOR}/domain/span.py", "from aforo_sdk import conventions"),
    (core_is_self_contained, f"{COLLECTOR}/pipeline/record.py", "import fastapi"),
    (core_is_pure, f"{COLLECTOR}/domain/ids.py", "import uuid"),
    (core_is_pure, f"{COLLECTOR}/domain/session.py", "from time import monotonic"),
    (core_is_pure, f"{COLLECTOR}/domain/session.py", "from datetime import datetime\nx = datetime.now()"),
    (core_is_pure, f"{COLLECTOR}/domain/guard.py", "import os\nx = os.environ"),
    (core_is_pure, f"{COLLECTOR}/pipeline/admit.py", "import random"),
    (core_is_pure, f"{COLLECTOR}/dialects/ours.py", "x = open('map.json')"),
]

ALLOWED = [
    (layers_point_down, f"{COLLECTOR}/app.py", "from aforo_collector import __version__, api, store"),
    (layers_point_down, f"{COLLECTOR}/store/sqlite.py", "from . import schema\nfrom ..domain import span"),
    (layers_point_down, f"{COLLECTOR}/__main__.py", "from aforo_collector.cli import serve"),
    (
        distributions_stay_apart,
        "packages/langchain/src/aforo_langchain/runs.py",
        "from aforo_sdk import plugin",
    ),
    (distributions_stay_apart, f"{COLLECTOR}/dialects/ours.py", "from aforo_sdk import conventions"),
    (distributions_stay_apart, f"{COLLECTOR}/cli/demo.py", "import aforo_langchain"),
    (collector_is_framework_free, f"{COLLECTOR}/cli/demo_agent.py", "import langchain_core"),
    (core_is_self_contained, f"{COLLECTOR}/domain/money.py", "from decimal import Decimal"),
    (core_is_pure, f"{COLLECTOR}/domain/session.py", "from datetime import UTC, datetime, time"),
    (core_is_pure, f"{COLLECTOR}/store/sqlite.py", "import os, random, time\nx = open('a')"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_imports_keep_to_their_layer(rule):
    """Imports point down only, distributions stay apart, and the core is pure."""
    violations = sorted({violation for source in package_sources() for violation in rule(source)})

    assert not violations, "\n".join(violations)


@pytest.mark.parametrize(("rule", "path", "text"), VIOLATIONS)
def test_each_import_rule_is_able_to_fail(rule, path, text):
    """A source that breaks an import rule is found."""
    assert list(rule(source_of(text, path)))


@pytest.mark.parametrize(("rule", "path", "text"), ALLOWED)
def test_import_rules_let_pass_what_is_allowed(rule, path, text):
    """A source that keeps an import rule is left alone."""
    assert not list(rule(source_of(text, path)))


def test_dependencies_are_declared():
    """Each distribution imports only what its pyproject.toml requires."""
    siblings = {distribution.package: [distribution.name] for distribution in distributions()}
    providers = {**packages_distributions(), **siblings, "fastmcp": ["fastmcp"]}  # fastmcp-slim carries it
    declared = {distribution.package: distribution.requirements for distribution in distributions()}
    violations = sorted(
        {
            violation
            for source in package_sources()
            for violation in dependencies_are_declared(source, declared[source.package], providers)
        }
    )

    assert not violations, "\n".join(violations)


def test_an_undeclared_dependency_is_found():
    """An import that no requirement provides is a violation; a declared one is none."""
    source = source_of("import json\nimport requests\n", "packages/sdk/src/aforo_sdk/sender.py")
    providers = {"requests": ["requests"]}

    assert list(dependencies_are_declared(source, frozenset(), providers))
    assert not list(dependencies_are_declared(source, frozenset({"requests"}), providers))
