"""No file names a registry, a machine or unfinished work, none is large; each rule is able to fail."""

import pytest

from tests.tidy.sources import ROOT, files
from tests.tidy.texts import is_small, leaves_nothing_unfinished, names_no_machine_path, names_no_registry

RULES = (names_no_registry, leaves_nothing_unfinished, names_no_machine_path)

# Put together from parts, so that this file does not break the rules that it tests.
VIOLATIONS = [
    (names_no_registry, "https://files." + "pythonhosted" + ".org/x"),
    (names_no_registry, "see https://pypi" + ".org/project/x"),
    (names_no_registry, "index" + "-url = https://example.com"),
    (leaves_nothing_unfinished, "# TO" + "DO: later"),
    (leaves_nothing_unfinished, "FIX" + "ME"),
    (names_no_machine_path, 'open("/' + 'home/ada/spool")'),
    (names_no_machine_path, "cd /" + "root/x"),
]

ALLOWED = [
    (names_no_registry, "installs from PyPI"),
    (leaves_nothing_unfinished, "a todo list is an example"),
    (names_no_machine_path, "GET /v1/sessions and ~/work/x and https://example.com/home/x"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_texts_are_fit_for_everyone(rule):
    """No file names a package registry, a path of one machine, or work left for later."""
    violations = []
    for path in files():
        content = (ROOT / path).read_bytes()
        if b"\0" not in content:
            violations += rule(path, content.decode("utf-8"))

    assert not violations, "\n".join(violations)


def test_no_file_is_large():
    """No file is larger than 200 kB."""
    violations = [violation for path in files() for violation in is_small(path, (ROOT / path).stat().st_size)]

    assert not violations, "\n".join(violations)


@pytest.mark.parametrize(("rule", "text"), VIOLATIONS)
def test_each_text_rule_is_able_to_fail(rule, text):
    """A line that breaks a rule of texts is found, with its number."""
    assert next(rule("README.md", f"first\n{text}\n")).startswith("README.md:2:")


@pytest.mark.parametrize(("rule", "text"), ALLOWED)
def test_text_rules_let_pass_what_is_allowed(rule, text):
    """A line that keeps a rule of texts is left alone."""
    assert not list(rule("README.md", text))


def test_a_large_file_is_found():
    """One byte over the bound is a violation."""
    assert list(is_small("dump.json", 200_001))
    assert not list(is_small("dump.json", 200_000))


def test_no_lock_file_is_kept():
    """The lock file, which names hosts, is ignored: versions are pinned in pyproject.toml."""
    assert not [path for path in files() if path.endswith((".lock", "-lock.json"))]
