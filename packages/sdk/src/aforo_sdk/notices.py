"""What metering has to say: counters, and one log line per kind of trouble.

Nothing is ever printed: lines go to the logger `aforo_sdk`, which is silent until the application configures
logging.
"""

import logging
import threading

logger = logging.getLogger("aforo_sdk")
logger.addHandler(logging.NullHandler())

_lock = threading.RLock()
_counters: dict[str, int] = {}
_warned: set[str] = set()


def count(name: str, amount: int = 1) -> None:
    """Add to a counter of this process. `aforo doctor` shows them all."""
    with _lock:
        _counters[name] = _counters.get(name, 0) + amount


def counters() -> dict[str, int]:
    """The counters of this process, by name."""
    with _lock:
        return dict(sorted(_counters.items()))


def warn_once(key: str, message: str) -> None:
    """Log `message` at WARNING the first time `key` is seen in this process. Never raises."""
    with _lock:
        if key in _warned:
            return
        _warned.add(key)
    try:
        logger.warning(message)
    except Exception:
        # A logging handler of the application failed; metering must not make that the user's problem.
        count("log_failures")


def forget() -> None:
    """Start anew in the child of a fork: the lock may have been held by a thread that no longer exists."""
    global _lock
    _lock = threading.RLock()
    _counters.clear()
    _warned.clear()
