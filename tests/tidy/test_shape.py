"""Modules and functions are short, names speak, public names are documented; each rule is able to fail."""

import pytest

from tests.tidy.shape import (
    every_test_has_its_sentence,
    functions_are_short,
    init_only_reexports,
    modules_are_short,
    names_say_something,
    public_names_are_documented,
)
from tests.tidy.sources import package_sources, source_of, sources

EVERYWHERE = (
    modules_are_short,
    functions_are_short,
    names_say_something,
    every_test_has_its_sentence,
)
SHIPPED = (init_only_reexports, public_names_are_documented)

MODULE = "packages/sdk/src/aforo_sdk/spool.py"
INIT = "packages/sdk/src/aforo_sdk/__init__.py"

VIOLATIONS = [
    (modules_are_short, MODULE, "x = 1\n" * 401),
    (functions_are_short, MODULE, "def f():\n" + "    x = 1\n" * 70),
    (functions_are_short, MODULE, "class A:\n    async def f(self):\n" + "        x = 1\n" * 70),
    (init_only_reexports, INIT, '"""A."""\nx = 1\n'),
    (init_only_reexports, INIT, '"""A."""\ndef f(): ...\n'),
    (init_only_reexports, INIT, '"""A."""\n__all__ = sorted(["b"])\n'),
    (init_only_reexports, INIT, '"""A."""\ntry:\n    import b\nexcept ImportError:\n    pass\n'),
    (names_say_something, "packages/sdk/src/aforo_sdk/http_utils.py", ""),
    (names_say_something, MODULE, "class SpoolManager: ..."),
    (names_say_something, MODULE, "class HTTPInfo: ..."),
    (public_names_are_documented, MODULE, "x = 1"),
    (public_names_are_documented, MODULE, '"""A."""\nclass B: ...'),
    (public_names_are_documented, MODULE, '"""A."""\nclass B:\n    """B."""\n    def c(self): ...'),
    (public_names_are_documented, MODULE, '"""A."""\nif True:\n    async def c(): ...'),
    (every_test_has_its_sentence, "tests/sdk/test_spool.py", "def test_a(): ..."),
    (every_test_has_its_sentence, "tests/sdk/test_spool.py", 'def test_a():\n    """a"""'),
]

ALLOWED = [
    (modules_are_short, MODULE, "x = 1\n" * 400),
    (functions_are_short, MODULE, "def f():\n" + "    x = 1\n" * 69),
    (init_only_reexports, INIT, '"""A."""\nfrom a import b\n__version__ = "0.1.0"\n__all__ = ["b"]\n'),
    (names_say_something, "collector/src/aforo_collector/api/information.py", "class Informant: ..."),
    (public_names_are_documented, MODULE, '"""A."""\ndef _c(): ...\nclass _D:\n    def e(self): ...'),
    (
        public_names_are_documented,
        MODULE,
        '"""A."""\nclass B:\n    """B."""\n    @override\n    def c(self): ...',
    ),
    (every_test_has_its_sentence, "tests/sdk/test_spool.py", 'def test_a():\n    """A holds."""'),
]


@pytest.mark.parametrize("rule", EVERYWHERE, ids=lambda rule: rule.__name__)
def test_files_have_their_shape(rule):
    """Sizes, names and test sentences hold in every file of the repository."""
    violations = [violation for source in sources() for violation in rule(source)]

    assert not violations, "\n".join(violations)


@pytest.mark.parametrize("rule", SHIPPED, ids=lambda rule: rule.__name__)
def test_shipped_modules_have_their_shape(rule):
    """An `__init__` only re-exports, and every public name that is shipped is documented."""
    violations = [violation for source in package_sources() for violation in rule(source)]

    assert not violations, "\n".join(violations)


@pytest.mark.parametrize(("rule", "path", "text"), VIOLATIONS)
def test_each_shape_rule_is_able_to_fail(rule, path, text):
    """A source that breaks a rule of shape is found."""
    assert list(rule(source_of(text, path)))


@pytest.mark.parametrize(("rule", "path", "text"), ALLOWED)
def test_shape_rules_let_pass_what_is_allowed(rule, path, text):
    """A source that keeps a rule of shape is left alone."""
    assert not list(rule(source_of(text, path)))
