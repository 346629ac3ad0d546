"""The agent of `aforo demo`: two tools, a model, and one callback that meters them all.

This is what a user writes; only the model is made up (see `demo_model`), so that no network is needed.
"""

from __future__ import annotations

import aforo_sdk
from aforo_langchain import AforoCallbackHandler
from langchain_core.messages import BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.runnables import chain
from langchain_core.tools import tool

from .demo_model import ScriptedModel

QUESTION = "Which enzyme cuts at GAATTC? Note it down."
ROUNDS = 2
FLUSH_TIMEOUT_S = 10.0


@tool
def lookup(query: str) -> str:
    """Look something up."""
    return f"EcoRI recognises GAATTC (found for {query!r})"


@tool
def db_write(table: str, text: str) -> str:
    """Write a line to a table."""
    if table == "archive":
        raise PermissionError("the archive is read-only")
    return f"wrote {len(text)} characters to {table}"


TOOLS = {"lookup": lookup, "db_write": db_write}


@chain
def researcher(question: str) -> str:
    """Two rounds of tools, then an answer that streams."""
    model = ScriptedModel()
    messages: list[BaseMessage] = [HumanMessage(question)]
    for _ in range(ROUNDS):
        reply = model.invoke(messages)
        messages.append(reply)
        messages += [call(wanted) for wanted in reply.tool_calls]
    return "".join(str(chunk.content) for chunk in model.stream(messages))


def call(wanted: ToolCall) -> ToolMessage:
    """Run a tool that the model asked for; a refusal goes back to the model, as agents do it."""
    try:
        answer: ToolMessage = TOOLS[wanted["name"]].invoke(wanted)
    except PermissionError as error:
        return ToolMessage(str(error), tool_call_id=wanted["id"], status="error")
    return answer


def run(endpoint: str, api_key: str, spool_dir: str) -> str:
    """Run the agent in a session of customer acme; returns the session's id when everything is delivered.

    Raises TimeoutError when it is not within 10 seconds.
    """
    aforo_sdk.init(api_key=api_key, endpoint=endpoint, spool_dir=spool_dir)
    with aforo_sdk.session(customer_id="acme", agent_id="researcher-1", team_id="science") as session:
        researcher.invoke(QUESTION, {"callbacks": [AforoCallbackHandler()], "run_name": "researcher"})
    if not aforo_sdk.flush(FLUSH_TIMEOUT_S):
        raise TimeoutError(f"the collector did not acknowledge all spans within {FLUSH_TIMEOUT_S:.0f} s")
    return session.session_id
