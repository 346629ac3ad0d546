"""What a framework plugin builds on: identity, ids, operations, encoded attributes, and `emit`.

A plugin keeps a small tuple when a run starts and calls `emit` once when it ends. Nothing here raises into
the caller except for arguments of a wrong type in the encoders, nothing prints, and nothing touches the
OpenTelemetry context.

    trace_id, span_id, parent_id = new_place()
    opening = tool_call("search")
    with Inside(trace_id, span_id, current_identity()):
        ...  # the call; what is metered inside hangs under it
    emit(trace_id, span_id, parent_id, opening.name, opening.kind, start_ns, time_ns(),
         opening.attributes + current_identity().attributes)
"""

from aforo_sdk.answers import (
    COUNT_MAX,
    USAGE_KEYS,
    Answer,
    answer_of_usage,
    plain_usage,
    quality_of,
    raise_cache_writes,
    take_counts,
    tokens_of_usage,
)
from aforo_sdk.decorators import async_generator, generator
from aforo_sdk.errors import shown
from aforo_sdk.identity import Identity
from aforo_sdk.ids import new_ids, new_span_id, new_trace_id
from aforo_sdk.notices import count, warn_once
from aforo_sdk.operations import (
    Opening,
    agent_call,
    call_id,
    error_type_of,
    model_call,
    outcome,
    paused,
    retrieval,
    step_index,
    structure,
    tool_call,
    workflow,
)
from aforo_sdk.parents import Inside, current_parent, found_by, here, innermost, new_place, put_back, served
from aforo_sdk.runtime import capture_content, current_identity, emit, is_product_type_assumed
from aforo_sdk.wire import boolean, counts, integer, text, text_once, texts, utf8

__all__ = [
    "COUNT_MAX",
    "USAGE_KEYS",
    "Answer",
    "Identity",
    "Inside",
    "Opening",
    "agent_call",
    "answer_of_usage",
    "async_generator",
    "boolean",
    "call_id",
    "capture_content",
    "count",
    "counts",
    "current_identity",
    "current_parent",
    "emit",
    "error_type_of",
    "found_by",
    "generator",
    "here",
    "innermost",
    "integer",
    "is_product_type_assumed",
    "model_call",
    "new_ids",
    "new_place",
    "new_span_id",
    "new_trace_id",
    "outcome",
    "paused",
    "plain_usage",
    "put_back",
    "quality_of",
    "raise_cache_writes",
    "retrieval",
    "served",
    "shown",
    "step_index",
    "structure",
    "take_counts",
    "text",
    "text_once",
    "texts",
    "tokens_of_usage",
    "tool_call",
    "utf8",
    "warn_once",
    "workflow",
]
