"""What users see: read models as plain wire dictionaries, made by pure functions.

Money and quantities are decimal text, times RFC 3339 in UTC, names camelCase. Totals show exclusive token
pools: input without cache, output without reasoning; their sum is the provider's total.
"""

from .credential import credential_view
from .intake import balance_view, quarantine_view
from .quota import quota_view
from .session import session_totals, session_view
from .trace import Placed, span_view, trace_view
from .usage import correction_views, event_views, trace_id_of
from .wire import EPOCH, Wire, instant, page

__all__ = [
    "EPOCH",
    "Placed",
    "Wire",
    "balance_view",
    "correction_views",
    "credential_view",
    "event_views",
    "instant",
    "page",
    "quarantine_view",
    "quota_view",
    "session_totals",
    "session_view",
    "span_view",
    "trace_id_of",
    "trace_view",
]
