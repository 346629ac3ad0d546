"""What one process has: its settings, the sender in charge, and how a span gets from a call into the spool.

Nothing starts before the first span (or `flush`): then the settings are resolved, a segment is opened and the
sender's thread begins. A child of a fork drops all of that and starts its own at its first span.
"""

import atexit
import os
import threading
import time
from collections.abc import Callable
from typing import Final

from opentelemetry.context import Context

from aforo_sdk import conventions, identity, ids, notices, parents, segments, wire
from aforo_sdk.identity import Identity
from aforo_sdk.parents import Inside
from aforo_sdk.sender import Sender
from aforo_sdk.settings import SDK_VERSION, Settings, resolve

EXIT_TIMEOUT_S: Final = 2.0

_lock = threading.RLock()
_arguments: dict[str, object] = {}
_settings: Settings | None = None
_sender: Sender | None = None
_retired: list[Sender] = []
_troubles_seen = 0
_copy: Callable[..., None] | None = None


def init(
    api_key: str | None = None,
    endpoint: str | None = None,
    customer_id: str | None = None,
    agent_id: str | None = None,
    product_type: str | None = None,
    *,
    team_id: str | None = None,
    app_id: str | None = None,
    tee: bool | None = None,
    spool_dir: str | os.PathLike[str] | None = None,
    spool_max_bytes: int | None = None,
) -> None:
    """State who pays and where spans go. Optional: the environment and the defaults do for the rest
    (`settings`).

    What is not given here stays as an earlier call set it; without one it comes from `AFORO_*`, then
    `OTEL_*`, then the default (collector http://localhost:4318, product type AGENTIC_API). May be called
    again at any time: the same arguments change nothing, and spans already written go where they were meant
    to go. `tee=True` also hands every span to the application's own OpenTelemetry SDK provider. Nothing is
    started or opened here. Never raises.
    """
    global _settings, _copy
    stated = {
        "api_key": api_key,
        "endpoint": endpoint,
        "customer_id": customer_id,
        "agent_id": agent_id,
        "product_type": product_type,
        "team_id": team_id,
        "app_id": app_id,
        "tee": tee,
        "spool_dir": None if spool_dir is None else os.fspath(spool_dir),
        "spool_max_bytes": spool_max_bytes,
    }
    with _lock:
        _arguments.update({name: value for name, value in stated.items() if value is not None})
        before, _settings = _settings, resolve(_arguments, os.environ)
        _copy = _copier() if _settings.tee else None
        if before is not None and _lane(before) != _lane(_settings):
            _replace_sender()


def _copier() -> Callable[..., None]:
    from aforo_sdk import tee

    return tee.copy


def settings() -> Settings:
    """The settings in force; resolved at the first use."""
    global _settings
    if _settings is None:
        with _lock:
            if _settings is None:
                _settings = resolve(_arguments, os.environ)
    return _settings


def current_identity(context: Context | None = None, place: Inside | None = None) -> Identity:
    """Who pays for what happens now: our context over W3C baggage (of `context`, None = current) over the
    defaults. `place` is what `innermost` tells, if that is at hand.
    """
    defaults = (_settings or settings()).identity
    if context is not None and not context:  # nothing of OpenTelemetry's there: the usual case, in one step
        stated = (place or parents.innermost()).payer
    else:
        stated = parents.current_payer(context, place)
    return defaults if stated is identity.UNKNOWN else stated.over(defaults)


def is_product_type_assumed() -> bool:
    """Whether nobody told this process what it sells, so that its product type is the SDK's own default."""
    return (_settings or settings()).is_product_type_assumed


def capture_content() -> bool:
    """Whether prompts and answers may be put on spans; no unless the environment says so."""
    return settings().capture_content


def emit(
    trace_id: int,
    span_id: int,
    parent_span_id: int,
    name: str,
    kind: int,
    start_ns: int,
    end_ns: int,
    attributes: bytes,
    error: str | None = None,
) -> None:
    """Put one finished span into the spool: it is there, and safe from `kill -9`, when this returns.

    Ids and times as in `wire.span_record`; `parent_span_id` 0 = a root. `error` None leaves the status unset,
    a text makes it ERROR (cut to 256 characters). Never raises, never prints: what could not be written is
    counted.
    """
    try:
        record = wire.span_record(
            trace_id, span_id, parent_span_id, name, kind, start_ns, end_ns, attributes, error
        )
        (_sender or _start()).spool.append(record)
        if _copy is not None:
            _copy(trace_id, span_id, parent_span_id, name, kind, start_ns, end_ns, attributes, error)
    except Exception as problem:
        notices.count("spans_failed")
        notices.warn_once(
            "emit",
            f"aforo: a span could not be recorded ({type(problem).__name__}: {problem}); it is not billed.",
        )


def emit_message(operation: str, attributes: bytes, payer: Identity) -> None:
    """Put a message to the collector into the spool: a span of no duration whose `aforo.operation.name`
    says what.
    """
    now_ns = time.time_ns()
    encoded = payer.attributes + wire.text(conventions.AFORO_OPERATION_NAME, operation) + attributes
    emit(
        ids.new_trace_id(),
        ids.new_span_id(),
        0,
        operation,
        conventions.KIND_INTERNAL,
        now_ns,
        now_ns,
        encoded,
    )


def flush(timeout_s: float = 5.0) -> bool:
    """Deliver now. True only when all that this process wrote before the call was acknowledged, and no span
    was refused or set aside since the last call. Takes `timeout_s` at most, whatever the collector does.
    Never raises.

    Spans that dead processes left are delivered too, as far as the time allows.
    """
    global _troubles_seen
    try:
        deadline = time.monotonic() + min(float(timeout_s), threading.TIMEOUT_MAX / 2)
        if _sender is None:
            _start()
        senders = _senders()
        delivered = _drain(senders, deadline, give_up=False)
        troubles = sum(sender.spool.refused + sender.set_aside for sender in senders)
        troubled, _troubles_seen = troubles > _troubles_seen, max(troubles, _troubles_seen)
        return delivered and not troubled
    except Exception as problem:
        notices.count("flush_failed")
        notices.warn_once(
            "flush", f"aforo: flush failed ({type(problem).__name__}: {problem}); spans stay in the spool."
        )
        return False


def _drain(senders: list[Sender], deadline: float, *, give_up: bool) -> bool:
    """Wait for everything written before; `give_up` at the first attempt that fails from now on."""
    marks = []
    for sender in senders:
        position = sender.spool.written(max(0.0, deadline - time.monotonic()))
        marks.append((sender, position, sender.failures, sender.scans))
        sender.hurry()
    delivered = True
    for sender, position, failures, _ in marks:
        delivered &= position is not None and sender.wait(
            lambda sender=sender, position=position: sender.spool.acknowledged >= position,  # type: ignore[misc]
            deadline,
            failures if give_up else None,
        )
    if delivered:
        for sender, _, failures, scans in marks:
            sender.wait(lambda sender=sender, scans=scans: sender.scans > scans, deadline, failures)  # type: ignore[misc]
    return delivered


def _senders() -> list[Sender]:
    with _lock:
        _retired[:] = [sender for sender in _retired if not sender.finished]
        return [*_retired, _sender] if _sender is not None else list(_retired)


def _start() -> Sender:
    """The sender in charge, started if there is none."""
    global _sender
    with _lock:
        now = settings()
        header = segments.head(now.resource, wire.scope(conventions.SCOPE_NAME, SDK_VERSION))
        made = Sender(now.spool_dir, now.destination, header, now.spool_bytes_max)
        # Looked at again: a span that ended in a finalizer a moment ago may have started one.
        if _sender is None:
            _sender = made
            try:
                made.start()
            except RuntimeError:
                # The interpreter is shutting down: the span is written all the same, for a later process.
                notices.count("senders_not_started")
        return _sender


def _lane(of: Settings) -> tuple[object, ...]:
    """The part of the settings that a sender is made for."""
    return of.destination, of.spool_dir, of.spool_bytes_max, of.resource


def _replace_sender() -> None:
    global _sender
    if _sender is not None:
        _sender.retire()
        _retired.append(_sender)
        _sender = None


def _at_exit() -> None:
    """Give the sender a last chance: at most EXIT_TIMEOUT_S, and no longer than until its first failure."""
    senders = _senders()
    if senders and _drain(senders, time.monotonic() + EXIT_TIMEOUT_S, give_up=True):
        for sender in senders:
            sender.spool.close()


def _before_fork() -> None:
    _lock.acquire()
    for sender in _fork_order():
        sender.spool.lock.acquire()
    segments.guard.acquire()


def _after_fork_in_parent() -> None:
    segments.guard.release()
    for sender in reversed(_fork_order()):
        sender.spool.lock.release()
    _lock.release()


def _after_fork_in_child() -> None:
    global _sender, _troubles_seen
    segments.forget_held()
    segments.guard.release()
    _sender, _troubles_seen = None, 0
    _retired.clear()
    ids.reseed()
    notices.forget()
    _lock.release()


def _fork_order() -> list[Sender]:
    return [*_retired, _sender] if _sender is not None else list(_retired)


atexit.register(_at_exit)
os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)
