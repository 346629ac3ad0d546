"""Every attribute name and value this project puts on a span or reads from one.

OpenTelemetry's GenAI names (https://github.com/open-telemetry/semantic-conventions-genai) wherever they
exist, ours (`aforo.*`) only where they do not. W3C baggage uses the same keys as the attributes. Constants
only.
"""

from typing import Final

# -- OpenTelemetry, GenAI ------------------------------------------------------------------------------------
OPERATION_NAME: Final = "gen_ai.operation.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
SYSTEM: Final = "gen_ai.system"  # the name before `gen_ai.provider.name`
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
CONVERSATION_ID: Final = "gen_ai.conversation.id"
AGENT_ID: Final = "gen_ai.agent.id"
AGENT_NAME: Final = "gen_ai.agent.name"
WORKFLOW_NAME: Final = "gen_ai.workflow.name"
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"

# Totals are inclusive: input contains cache reads and writes, output contains reasoning.
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_write.input_tokens"
CACHE_CREATION_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"  # the name before `cache_write`
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
AUDIO_INPUT_TOKENS: Final = "gen_ai.usage.audio.input_tokens"
AUDIO_OUTPUT_TOKENS: Final = "gen_ai.usage.audio.output_tokens"
PROMPT_TOKENS: Final = "gen_ai.usage.prompt_tokens"  # the name before `input_tokens`
COMPLETION_TOKENS: Final = "gen_ai.usage.completion_tokens"  # the name before `output_tokens`

# Values of `gen_ai.operation.name`.
CHAT: Final = "chat"
TEXT_COMPLETION: Final = "text_completion"
EMBEDDINGS: Final = "embeddings"
RETRIEVAL: Final = "retrieval"
EXECUTE_TOOL: Final = "execute_tool"
INVOKE_AGENT: Final = "invoke_agent"
INVOKE_WORKFLOW: Final = "invoke_workflow"

# -- OpenTelemetry, general ----------------------------------------------------------------------------------
ERROR_TYPE: Final = "error.type"
ERROR_TYPE_OTHER: Final = "_OTHER"
TOOL_ERROR: Final = "tool_error"  # a tool that answered with an error message instead of raising
SERVICE_NAME: Final = "service.name"

# Values of a span's kind, as OTLP numbers them.
KIND_INTERNAL: Final = 1
KIND_SERVER: Final = 2
KIND_CLIENT: Final = 3

# -- Ours: who pays ------------------------------------------------------------------------------------------
CUSTOMER_ID: Final = "aforo.customer.id"
TEAM_ID: Final = "aforo.team.id"
AFORO_AGENT_ID: Final = "aforo.agent.id"
APP_ID: Final = "aforo.app.id"
SESSION_ID: Final = "aforo.session.id"
PRODUCT_TYPE: Final = "aforo.product.type"

# Values of `aforo.product.type`.
API: Final = "API"
AGENTIC_API: Final = "AGENTIC_API"
AI_AGENT: Final = "AI_AGENT"
MCP_SERVER: Final = "MCP_SERVER"

# -- Ours: what happened -------------------------------------------------------------------------------------
STEP_INDEX: Final = "aforo.step.index"  # 0, 1, 2 … within one root run, in the order of starts
STEP_TYPE: Final = "aforo.step.type"
USAGE_QUALITY: Final = "aforo.usage.quality"
USAGE_RAW: Final = "aforo.usage.raw"  # the provider's own usage object, as JSON text
USAGE_CACHE_WRITE_5M: Final = "aforo.usage.cache_write_5m"  # tokens, part of `cache_write`
USAGE_CACHE_WRITE_1H: Final = "aforo.usage.cache_write_1h"  # tokens, part of `cache_write`
GUARD_LEVEL: Final = "aforo.guard.level"
PROVIDER_COST: Final = "aforo.provider_cost"  # USD, decimal text: what this call cost us

# Values of `aforo.step.type`.
STEP_MODEL_CALL: Final = "MODEL_CALL"
STEP_TOOL_CALL: Final = "TOOL_CALL"
STEP_HANDOFF: Final = "HANDOFF"
STEP_FINAL_ANSWER: Final = "FINAL_ANSWER"

# Values of `aforo.usage.quality`.
REPORTED: Final = "reported"
ZERO_ON_SUCCESS: Final = "zero_on_success"  # 0/0 on a success is unknown, not free
MISSING: Final = "missing"
ESTIMATED: Final = "estimated"
PARTIAL: Final = "partial"  # a broken stream
CACHED_RESPONSE: Final = "cached_response"  # an answer from the framework's own cache costs nothing

# -- Ours: spans that are messages to the collector ----------------------------------------------------------
AFORO_OPERATION_NAME: Final = "aforo.operation.name"
SESSION_END: Final = "session_end"  # value: the session named on this span is closed
RECORD_USAGE: Final = "record_usage"  # value: this span is one usage event
METRIC_NAME: Final = "aforo.metric.name"
QUANTITY: Final = "aforo.quantity"  # decimal text
IDEMPOTENCY_KEY: Final = "aforo.idempotency.key"
METADATA: Final = "aforo.metadata"  # a JSON object, as text

# -- The scope under which our own spans travel --------------------------------------------------------------
SCOPE_NAME: Final = "aforo"
