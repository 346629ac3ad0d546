"""JSONPath (RFC 9535) over payloads, as much of it as finds a value in bounded time.

Not everything that the standard allows: a path has one `..` at most and one selector in a bracket, queries
inside a filter name one value, and there are no regular expressions. What is left walks a payload once for
each segment, and all paths of a delivery together visit `VISITS_MAX` values at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from jsonpath import JSONPath, JSONPathEnvironment, JSONPathError, JSONPathMatch
from jsonpath.filter import BaseExpression, FilterQuery
from jsonpath.segments import JSONPathRecursiveDescentSegment
from jsonpath.selectors import Filter

from .provider import MalformedPayload

PATH_LENGTH_MAX: Final = 256
VISITS_MAX: Final = 1_000_000


class InvalidPath(ValueError):
    """A path that is no JSONPath, or one that could take too long; says which."""


class Budget:
    """How many values the paths of one delivery may still visit."""

    __slots__ = ("left",)

    def __init__(self, visits_max: int = VISITS_MAX) -> None:
        self.left = visits_max

    def spend(self) -> None:
        """Count a visit; raises `MalformedPayload` when there were too many."""
        self.left -= 1
        if self.left < 0:
            raise MalformedPayload("the paths of the mapping visit too many values of this payload")


class _Environment(JSONPathEnvironment):
    """The standard's functions without `match` and `search`, which can take exponential time."""

    def setup_function_extensions(self) -> None:
        super().setup_function_extensions()
        del self.function_extensions["match"], self.function_extensions["search"]


class _Visit(JSONPathMatch):
    """A value on the way; every child costs."""

    __slots__ = ()

    def new_child(self, obj: object, key: int | str) -> JSONPathMatch:
        self.filter_context()["budget"].spend()
        return super().new_child(obj, key)


_ENVIRONMENT: Final = _Environment(strict=True)


@lru_cache(4_096)
def _compiled(path: str) -> JSONPath:
    if len(path) > PATH_LENGTH_MAX:
        raise InvalidPath(f"a path has {PATH_LENGTH_MAX} characters at most")
    try:
        found = _ENVIRONMENT.compile(path)
    except (JSONPathError, RecursionError, ValueError) as error:
        why = next(iter(error.args), "it is nested too deep")  # the library's own text can fail
        raise InvalidPath(f"{path!r} is no JSONPath that can be used: {why}") from None
    assert isinstance(found, JSONPath), "strict paths have no unions"
    descents = sum(isinstance(segment, JSONPathRecursiveDescentSegment) for segment in found.segments)
    if descents > 1:
        raise InvalidPath(f"{path!r} has more than one `..`")
    for segment in found.segments:
        if len(segment.selectors) > 1:
            raise InvalidPath(f"{path!r} has several selectors in one bracket")
        selector = segment.selectors[0]
        if isinstance(selector, Filter) and not all(_queries_are_singular(selector.expression)):
            raise InvalidPath(f"{path!r} has a query in a filter that may find several values")
    return found


def _queries_are_singular(expression: BaseExpression) -> Iterable[bool]:
    if isinstance(expression, FilterQuery):
        yield expression.path.singular_query()
        return
    for child in expression.children():
        yield from _queries_are_singular(child)


def check_path(path: str) -> None:
    """Raise `InvalidPath` for a path that cannot be used."""
    _compiled(path)


def values_at(path: str, payload: Mapping[str, Any], budget: Budget) -> list[Any]:
    """The values that a checked path finds in a payload, without nulls; raises `MalformedPayload`."""
    root = _Visit(
        filter_context={"budget": budget}, obj=payload, parent=None, path="$", parts=(), root=payload
    )
    found: Iterable[JSONPathMatch] = (root,)
    for segment in _compiled(path).segments:
        found = segment.resolve(found)
    return [match.obj for match in found if match.obj is not None]
