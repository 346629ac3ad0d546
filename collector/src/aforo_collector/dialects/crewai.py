"""CrewAI's own traces (`crewai.telemetry.tracing.TraceSession`, crewai 1.15): scope "crewai".

The conversation id of a model call or of a lone agent is made up from the task or the agent when the run has
no conversation; where there is one, the spans above say it too, and a call inherits it from them.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from aforo_sdk import conventions as c

from .values import Attributes
from .vocabulary import TEXTS, Dialect, Names, Restated, stated

EVENT: Final = "crewai.event_name"
_NOT_A_CALL: Final = ("tool_failure_detected", "mcp_tool_execution_")
"""Events beside or inside the tool usage that is the call, and told as further `execute_tool` spans."""

_TEXTS: Final[Names] = MappingProxyType({**TEXTS, c.AGENT_NAME: ("crewai.agent.role", c.AGENT_NAME)})
"""`gen_ai.agent.name` is a hash of the agent's role and goal."""


def _operation(attributes: Attributes, span_name: str) -> str:
    del span_name
    if stated(attributes, EVENT).startswith(_NOT_A_CALL):
        return ""
    return stated(attributes, c.OPERATION_NAME)


def _drop_made_up_conversation(said: Restated, attributes: Attributes, span_name: str) -> None:
    if c.CONVERSATION_ID in said and (
        stated(attributes, c.OPERATION_NAME) == c.CHAT or span_name == "execute lite agent"
    ):
        del said[c.CONVERSATION_ID]


CREWAI: Final = Dialect(
    name="crewai",
    scopes=("crewai", "crewai.*"),
    operation=_operation,
    texts=_TEXTS,
    amend=_drop_made_up_conversation,
)
