"""Meters agents from inside their own process: sessions, spans, and a spool that survives `kill -9`.

import aforo_sdk

aforo_sdk.init(api_key="…", customer_id="acme")
with aforo_sdk.session() as session:
    ...
"""

from aforo_sdk.decorators import agent, step, tool
from aforo_sdk.errors import AforoError, UsageError
from aforo_sdk.identity import Identity
from aforo_sdk.provider import tracer_provider
from aforo_sdk.runtime import flush, init
from aforo_sdk.sessions import Session, session
from aforo_sdk.usage import record_usage

__all__ = [
    "AforoError",
    "Identity",
    "Session",
    "UsageError",
    "agent",
    "flush",
    "init",
    "record_usage",
    "session",
    "step",
    "tool",
    "tracer_provider",
]
