"""What a framework plugin builds on: identity, ids, encoded attributes, and `emit`.

A plugin keeps a small tuple when a run starts and calls `emit` once when it ends. Nothing here raises into
the caller except for arguments of a wrong type in the encoders, nothing prints, and nothing touches the
OpenTelemetry context.

    parent = current_parent()
    trace_id, parent_id = parent or (new_trace_id(), 0)
    emit(trace_id, new_span_id(), parent_id, "execute_tool search", KIND_INTERNAL, start_ns, time_ns(),
         current_identity().attributes + text(OPERATION_NAME, "execute_tool") + text(TOOL_NAME, "search"))
"""

from aforo_sdk.identity import Identity
from aforo_sdk.ids import new_span_id, new_trace_id
from aforo_sdk.notices import count, warn_once
from aforo_sdk.parents import current_parent
from aforo_sdk.runtime import capture_content, current_identity, emit
from aforo_sdk.wire import boolean, counts, integer, text, text_once, texts, utf8

__all__ = [
    "Identity",
    "boolean",
    "capture_content",
    "count",
    "counts",
    "current_identity",
    "current_parent",
    "emit",
    "integer",
    "new_span_id",
    "new_trace_id",
    "text",
    "text_once",
    "texts",
    "utf8",
    "warn_once",
]
