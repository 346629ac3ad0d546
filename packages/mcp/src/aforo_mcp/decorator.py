"""`@metered_tool`: meter one tool function, under any server, without touching its signature."""

import functools
import inspect
from collections.abc import Callable, Coroutine
from decimal import Decimal
from types import CoroutineType
from typing import Any, Final, TypeAlias, TypeVar, cast, overload

from aforo_sdk.plugin import Identity, async_generator, generator

from aforo_mcp.metering import Stretches, begin, end, pause, resume
from aforo_mcp.requests import Request, request_among
from aforo_mcp.spans import Layer
from aforo_mcp.terms import Terms, cost_of_each

F = TypeVar("F", bound=Callable[..., Any])

CONTEXT: Final = "aforo_context"
"""The keyword under which a server of the MCP SDK 2.x hands its context to a metered function."""


@overload
def metered_tool(function: F, /) -> F: ...
@overload
def metered_tool(
    name: str | None = None,
    *,
    cost: str | int | Decimal | None = None,
    customer_id: str | None = None,
    session_id: str | None = None,
    agent_id: str | None = None,
    team_id: str | None = None,
    app_id: str | None = None,
    product_type: str | None = None,
    trust_meta: bool = True,
) -> Callable[[F], F]: ...
def metered_tool(
    name: F | str | None = None,
    *,
    cost: str | int | Decimal | None = None,
    customer_id: str | None = None,
    session_id: str | None = None,
    agent_id: str | None = None,
    team_id: str | None = None,
    app_id: str | None = None,
    product_type: str | None = None,
    trust_meta: bool = True,
) -> F | Callable[[F], F]:
    """Meter a function as a tool of an MCP server: one span per call. It goes below `@mcp.tool()`.

    `name` is the name that is billed; without it, the one that the client called where the server shows it,
    else the function's. `cost` is what one call costs us, in USD ("0.01"), unless the call reports its own.
    Identity and `trust_meta` as for `AforoMiddleware`. Signature, schema, results, exceptions and injected
    contexts stay what they are.
    """
    identity = Identity(customer_id, team_id, agent_id, app_id, session_id, product_type)
    terms = Terms(identity, cost_of_each(cost), trust_meta)
    if name is None or isinstance(name, str):
        stated = name or ""
        return lambda function: _metered(function, terms, stated)
    return _metered(name, terms, "")


def _metered(function: F, terms: Terms, stated: str) -> F:
    if isinstance(function, staticmethod | classmethod):
        return cast(F, type(function)(_metered(function.__func__, terms, stated)))
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    code = inner if inspect.isroutine(inner) else type(inner).__call__
    called = str(getattr(inner, "__name__", None) or type(inner).__name__)

    def find(given: tuple[Any, tuple[Any, ...], dict[str, Any]]) -> tuple[str, Request | None]:
        context, arguments, named = given
        request = request_among(context, *arguments, *named.values())
        return stated or (request.tool if request is not None else "") or called, request

    def enter(arguments: tuple[Any, ...], named: dict[str, Any]) -> Layer | None:
        return begin(terms, find, (named.pop(CONTEXT, None), arguments, named), is_body=True)

    if inspect.isasyncgenfunction(code):
        metered = async_generator(function, lambda *given: Stretches(enter(*given)))
    elif inspect.isgeneratorfunction(code):
        metered = generator(function, lambda *given: Stretches(enter(*given)))
    elif inspect.iscoroutinefunction(code):
        metered = _coroutine(function, enter)
    else:
        metered = _plain(function, enter)
    metered.__name__ = str(getattr(function, "__name__", called))
    _ask_for_context(metered, code)
    return cast(F, metered)


Enter: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], Layer | None]


def _plain(function: Callable[..., Any], enter: Enter) -> Callable[..., Any]:
    @functools.wraps(function)
    def metered(*args: Any, **kwargs: Any) -> Any:
        layer = enter(args, kwargs)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            end(layer, error)
            raise
        if isinstance(result, CoroutineType):
            pause(layer)
            return _awaited(layer, result)
        end(layer, result)
        return result

    return metered


async def _awaited(layer: Layer | None, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The rest of a call whose function has handed a coroutine on, as a plain decorator around one does."""
    resume(layer)
    try:
        result = await coroutine
    except BaseException as error:
        end(layer, error)
        raise
    end(layer, result)
    return result


def _coroutine(function: Callable[..., Any], enter: Enter) -> Callable[..., Any]:
    @functools.wraps(function)
    async def metered(*args: Any, **kwargs: Any) -> Any:
        layer = enter(args, kwargs)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            end(layer, error)
            raise
        end(layer, result)
        return result

    return metered


def _ask_for_context(metered: Callable[..., Any], code: Callable[..., Any]) -> None:
    """Have servers of the MCP SDK 2.x hand their context to the wrapper.

    The SDK keeps the request in no context variable; it injects it where an annotation asks for it. Only the
    annotations tell of the parameter: the signature, and so the schema, is the function's own.
    """
    try:
        from mcp.server.mcpserver import Context

        metered.__annotations__ = {**code.__annotations__, CONTEXT: Context}
    except (ImportError, AttributeError, NameError):
        pass  # no SDK 2.x, or annotations that cannot be read yet: the call is metered all the same
