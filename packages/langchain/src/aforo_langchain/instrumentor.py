"""Meter every run of the process, with no callback passed anywhere: one patch, put on and taken off by one
table.
"""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from langchain_core.callbacks import BaseCallbackManager

from aforo_langchain.handler import AforoCallbackHandler

_lock = threading.Lock()
_handler: AforoCallbackHandler | None = None


def _with_handler(construct: Callable[..., None]) -> Callable[..., None]:
    """Wrap a callback manager's constructor: the manager also gets our handler, and hands it down."""

    @wraps(construct)
    def construct_metered(self: BaseCallbackManager, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        handler = _handler
        if handler is not None and handler not in self.handlers:
            # New lists: the ones passed in are the caller's own and must not keep our handler.
            self.handlers = [*self.handlers, handler]
            self.inheritable_handlers = [*self.inheritable_handlers, handler]

    return construct_metered


PATCHES: Final = ((BaseCallbackManager, "__init__", _with_handler),)
_originals: Final[dict[tuple[type, str], tuple[Callable[..., None], Callable[..., None]]]] = {}


def instrument(
    customer_id: str | None = None,
    session_id: str | None = None,
    agent_id: str | None = None,
    *,
    team_id: str | None = None,
    app_id: str | None = None,
    product_type: str | None = None,
) -> None:
    """Meter every LangChain and LangGraph run of this process from now on, in all threads.

    Takes the identity that `AforoCallbackHandler` takes; calling it again replaces the identity. Runs that
    are passed an `AforoCallbackHandler` of their own are metered once, by that one.
    """
    global _handler
    with _lock:
        _stop()
        _handler = AforoCallbackHandler(
            customer_id, session_id, agent_id, team_id=team_id, app_id=app_id, product_type=product_type
        )
        for owner, name, wrap in PATCHES:
            if (owner, name) not in _originals:
                original = getattr(owner, name)
                patched = wrap(original)
                setattr(owner, name, patched)
                _originals[owner, name] = (original, patched)


def uninstrument() -> None:
    """Undo `instrument()`: no further run is metered, LangChain is as it was. Without `instrument()` it does
    nothing.
    """
    with _lock:
        _stop()
        for owner, name, _ in PATCHES:
            original, patched = _originals.get((owner, name), (None, None))
            # If someone else has patched over ours, taking ours out would take theirs: it stays and passes
            # through.
            if original is not None and getattr(owner, name) is patched:
                setattr(owner, name, original)
                del _originals[owner, name]


def instrumented() -> bool:
    """Whether `instrument()` is in force; `aforo_sdk.doctor` asks."""
    return _handler is not None


def _stop() -> None:
    global _handler
    if _handler is not None:
        _handler.stop()
    _handler = None
