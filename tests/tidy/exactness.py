"""Money is decimal from the wire to the invoice: no float stands near it."""

import ast
from collections.abc import Iterator

from tests.tidy.sources import Source, imports

MONEY_MODULE = "aforo_collector.domain.money"

MONEY_UNITS = tuple(
    f"aforo_collector.domain.{noun}"
    for noun in ("money", "pricing", "rating", "invoice", "cost", "margin", "wallet")
)

INEXACT_CALLS = frozenset({"int", "len", "ord", "round", "float", "sum"})


def no_float_near_money(source: Source) -> Iterator[str]:
    """Pricing, rating, invoice, cost and whatever imports money hold no float and divide no plain numbers."""
    if not _touches_money(source):
        return
    plain = _names_annotated(source.tree, {"int", "float"})
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield f"{source.where(node)}: the float {node.value} stands near money"
        elif isinstance(node, ast.Name) and node.id == "float":
            yield f"{source.where(node)}: float stands near money"
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            left, right = (
                (node.left, node.right) if isinstance(node, ast.BinOp) else (node.target, node.value)
            )
            if _is_plain(left, plain) and _is_plain(right, plain):
                yield f"{source.where(node)}: {ast.unparse(node)} divides plain numbers into a float"


def _touches_money(source: Source) -> bool:
    if source.package != "aforo_collector":
        return False
    if source.name.startswith(MONEY_UNITS):
        return True
    return any(
        MONEY_MODULE in {imported.module, f"{imported.module}.{imported.member}"}
        for imported in imports(source)
    )


def _names_annotated(tree: ast.Module, types: set[str]) -> frozenset[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation and ast.unparse(node.annotation) in types:
            names.add(node.arg)
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) in types:
            names.add(ast.unparse(node.target))
    return frozenset(names)


def _is_plain(node: ast.expr, names: frozenset[str]) -> bool:
    """Whether an operand is evidently int or float: a literal, a name annotated so, a call that gives one."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float)
    if isinstance(node, ast.Name):
        return node.id in names
    if isinstance(node, ast.UnaryOp):
        return _is_plain(node.operand, names)
    if isinstance(node, ast.BinOp):
        return _is_plain(node.left, names) and _is_plain(node.right, names)
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in INEXACT_CALLS
