"""`session`: one long-running agent thread, as a block of code.

Inside the block every span carries the session's identity: through a context variable of ours, and through
W3C baggage for what leaves the process. Both are put back when the block ends.
"""

import contextvars
import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Token
from types import TracebackType
from typing import ParamSpec, Self, TypeVar, cast

from opentelemetry import baggage, context

from aforo_sdk import conventions, decorators, identity, ids, parents, runtime
from aforo_sdk.identity import Identity
from aforo_sdk.parents import Inside

P = ParamSpec("P")
R = TypeVar("R")


class _Place(Inside):
    """Inside of a session; `carried` gives the OpenTelemetry context back, once the block `is_over`."""

    __slots__ = ("carried", "is_over")

    carried: Token[context.Context]
    is_over: bool


class Session:
    """A session, for `with` or `async with`.

    `session_id` is the one given, or one minted here. `identity` is what its spans carry. Not to be entered
    twice at the same time; `wrap` brings functions that run in other threads into it.
    """

    def __init__(self, stated: Identity, close: bool | None) -> None:
        self._minted = stated.session_id is None
        own = Identity(session_id=f"session-{ids.new_trace_id():032x}") if self._minted else identity.UNKNOWN
        self._identity = stated.over(own).over(parents.current_payer())
        self._close_at_end = self._minted if close is None else close
        self._closed = False
        self._tokens: _Place | None = None

    @property
    def session_id(self) -> str:
        """The id of this session."""
        return self._identity.session_id or ""

    @property
    def identity(self) -> Identity:
        """What spans of this session carry: its own values over those of the context it was made in and
        the defaults.
        """
        return self._identity.over(runtime.settings().identity)

    def close(self) -> None:
        """Say that the session is over: the collector writes its final event. Once; later calls do nothing.

        The message travels behind every span written before it. Never raises.
        """
        if not self._closed:
            self._closed = True
            runtime.emit_message(conventions.SESSION_END, b"", self.identity)

    def wrap(self, function: Callable[P, R]) -> Callable[P, R]:
        """`function` running in this session wherever it is called: in a thread, an executor, another task.

        It also gets a copy of the context of the place where it is wrapped, so its spans find their parent.
        Coroutine functions and generators run in the session where they are awaited and read.
        """
        if inspect.isgeneratorfunction(function):
            return cast(Callable[P, R], decorators.generator(function, lambda *_: _Stretches(self._identity)))
        if inspect.isasyncgenfunction(function):
            return cast(
                Callable[P, R], decorators.async_generator(function, lambda *_: _Stretches(self._identity))
            )
        snapshot = contextvars.copy_context()

        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with self._active():
                return function(*args, **kwargs)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def in_task(*args: P.args, **kwargs: P.kwargs) -> object:
                with self._active():
                    return await function(*args, **kwargs)

            return cast(Callable[P, R], in_task)

        @functools.wraps(function)
        def in_thread(*args: P.args, **kwargs: P.kwargs) -> R:
            return snapshot.copy().run(run, *args, **kwargs)

        return in_thread

    def __enter__(self) -> Self:
        self._tokens = _attach(self._identity)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tokens, self._tokens = self._tokens, None
        if tokens is not None:
            _detach(tokens)
        if self._close_at_end:
            self.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    @contextmanager
    def _active(self) -> Iterator[None]:
        tokens = _attach(self._identity)
        try:
            yield
        finally:
            _detach(tokens)


class _Stretches:
    """A session while the code of a generator runs."""

    __slots__ = ("_identity",)

    def __init__(self, stated: Identity) -> None:
        self._identity = stated

    def enter(self) -> _Place:
        return _attach(self._identity)

    def leave(self, token: _Place) -> bool:
        is_here = token.leave()
        if is_here:
            context.detach(token.carried)
        return is_here

    def end(self, error: BaseException | None = None) -> None:
        """Nothing is left to do: the session goes on."""


def session(
    session_id: str | None = None,
    customer_id: str | None = None,
    agent_id: str | None = None,
    *,
    team_id: str | None = None,
    app_id: str | None = None,
    product_type: str | None = None,
    close: bool | None = None,
) -> Session:
    """A block whose spans belong to one session and name who pays: `with aforo_sdk.session() as session`.

    Without `session_id` a new one is minted, and closed when the block ends. A given one stays open for the
    next process or request that names it, unless `close=True` or `session.close()`. What is not given comes
    from the enclosing session, from W3C baggage, and from the defaults of the process. Never raises.
    """
    return Session(Identity(customer_id, team_id, agent_id, app_id, session_id, product_type), close)


def _attach(stated: Identity) -> _Place:
    carried = context.get_current()
    for key, value in stated.items():
        carried = baggage.set_baggage(key, value, carried)
    around = parents.innermost()
    place = _Place(around.trace_id, around.span_id, stated, around.agent_name)
    place.ambient, place.is_over = around.ambient, False
    place.enter()
    place.carried = context.attach(carried)
    return place


def _detach(place: _Place) -> None:
    # Where the block ends in another context than it began in (a generator that was closed elsewhere), what is
    # set is not ours to put back, and OpenTelemetry would log an error for trying. Where it ends before one that
    # began inside of it (generators that are read by turns), that one puts back what was before both.
    inner = parents.here.get()
    if isinstance(inner, _Place) and inner is not place:
        place.is_over = True
    elif place.leave():
        context.detach(place.carried)
        around = parents.here.get()
        if isinstance(around, _Place) and around.is_over:
            _detach(around)
