"""How a module is built: its size, its names, its documentation, and that an `__init__` only re-exports."""

import ast
import re
from collections.abc import Iterator

from tests.tidy.sources import Source

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70

EMPTY_WORDS = frozenset({"manager", "helper", "helpers", "util", "utils", "info"})

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function


def modules_are_short(source: Source) -> Iterator[str]:
    """A module has at most 400 lines."""
    lines = len(source.text.splitlines())
    if lines > MODULE_LINES_MAX:
        yield f"{source.path}: {lines} lines, {MODULE_LINES_MAX} allowed"


def functions_are_short(source: Source) -> Iterator[str]:
    """A function has at most 70 lines, from `def` to its last line."""
    for node in ast.walk(source.tree):
        if isinstance(node, Function):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{source.where(node)}: {node.name} has {lines} lines, {FUNCTION_LINES_MAX} allowed"


def init_only_reexports(source: Source) -> Iterator[str]:
    """An `__init__` holds a docstring, imports, `__all__` and `__version__`, and nothing else."""
    if not source.is_package:
        return
    for node in source.tree.body:
        if not (
            isinstance(node, ast.Import | ast.ImportFrom) or _is_docstring(node) or _is_declaration(node)
        ):
            yield f"{source.where(node)}: logic in __init__: {ast.unparse(node).splitlines()[0]}"


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_declaration(node: ast.stmt) -> bool:
    if isinstance(node, ast.AnnAssign):
        targets, value = [node.target], node.value
    elif isinstance(node, ast.Assign):
        targets, value = node.targets, node.value
    else:
        return False
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    return names <= {"__all__", "__version__"} and bool(names) and _is_literal(value)


def _is_literal(value: ast.expr | None) -> bool:
    try:
        ast.literal_eval(value or "")
    except ValueError:
        return False
    return True


def names_say_something(source: Source) -> Iterator[str]:
    """No class and no module is called Manager, Helper, Util or Info."""
    stem = source.name.rpartition(".")[2]
    if EMPTY_WORDS.intersection(stem.lower().split("_")):
        yield f"{source.path}: the module name says nothing"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef):
            words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", node.name)
            if EMPTY_WORDS.intersection(word.lower() for word in words):
                yield f"{source.where(node)}: the class name {node.name} says nothing"


def public_names_are_documented(source: Source) -> Iterator[str]:
    """Every module, and every public class, function and method of it, has a docstring."""
    for node, name in _public(source.tree, source.name):
        if not (ast.get_docstring(node) or "").strip():
            yield f"{source.where(node)}: {name} has no docstring"


def _public(node: Documented, name: str) -> Iterator[tuple[Documented, str]]:
    yield node, name
    if isinstance(node, Function):
        return
    for child in _definitions(node.body):
        if not child.name.startswith("_") and not _inherits_documentation(child):
            yield from _public(child, f"{name}.{child.name}")


def _definitions(body: list[ast.stmt]) -> Iterator[ast.ClassDef | Function]:
    for statement in body:
        if isinstance(statement, ast.ClassDef | Function):
            yield statement
        elif isinstance(statement, ast.If | ast.Try):
            yield from _definitions([*statement.body, *statement.orelse])


def _inherits_documentation(node: ast.ClassDef | Function) -> bool:
    decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    return bool(decorators & {"overload", "override", "setter", "deleter"})


def every_test_has_its_sentence(source: Source) -> Iterator[str]:
    """Every test has a docstring that states, as a sentence, what must hold."""
    for node in ast.walk(source.tree):
        if isinstance(node, Function) and node.name.startswith("test_"):
            sentence = (ast.get_docstring(node) or "").strip()
            if not sentence.endswith("."):
                yield f"{source.where(node)}: {node.name} has no sentence that says what must hold"
