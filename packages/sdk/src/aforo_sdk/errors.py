"""The errors of this distribution.

AforoError └── UsageError (also a ValueError)    a usage event that cannot be what the caller meant; nothing
was recorded

Metering itself never raises: only a call that states a quantity, and states it wrongly, is told so.
"""


class AforoError(Exception):
    """Root of every error that aforo-sdk raises on purpose."""


class UsageError(AforoError, ValueError):
    """`record_usage` was given something that is no usage: what is wrong, and that nothing was recorded."""


def shown(value: object) -> str:
    """A value in a message: the beginning of its `repr`, its type where it has none (huge integers, for one)."""
    try:
        return repr(value)[:80]
    except Exception:
        return f"of type {type(value).__name__}"


def error_type(error: BaseException) -> str:
    """The value of `error.type`: the qualified name of the exception's class, bare for builtins (OTel
    conventions).
    """
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def error_text(error: BaseException) -> str:
    """The message of an exception; its class's name where it has none or cannot say."""
    try:
        return str(error) or type(error).__name__
    except Exception:
        # A `__str__` of the user's own that raises: the name has to do.
        return type(error).__name__
