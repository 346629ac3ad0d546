"""What a run hands down to the runs inside it: the trace, who pays, the conversation, the agent.

It is settled at the root and passed along parents, never through thread or task context, so that batches,
thread pools and parallel graph nodes keep the payer of the run that started them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count

from aforo_sdk import conventions as c
from aforo_sdk import plugin
from aforo_sdk.plugin import Identity, Inside

from aforo_langchain.mapping import conversation_of, session_of


class Tree:
    """What all runs under one root share: the step counter, the time of the last start (unix ns), and what of
    ours the root began in: by our own context (`outside`), and as near as anybody knows (`around`).
    """

    __slots__ = ("around", "last_start_ns", "outside", "steps")

    def __init__(self) -> None:
        self.steps = count()
        self.last_start_ns = 0
        self.outside = plugin.here.get()
        self.around = plugin.innermost()

    def place(self) -> Inside:
        """What of ours a run of this tree begins in that starts now."""
        place = plugin.here.get()
        return self.around if place is self.outside else place


@dataclass(slots=True, eq=False)  # not frozen: made for every root run
class Scope:
    """What holds inside a run; never changed. `agent` is None outside of agents, empty in one without a name.

    `attributes` are the encoded span attributes of identity, conversation and agent.
    """

    tree: Tree
    trace_id: int
    identity: Identity
    conversation: str | None
    agent: str | None
    attributes: bytes


def root_scope(own: Identity, metadata: Mapping[str, object], agent: str | None) -> tuple[Scope, int]:
    """Return the scope of a root run and the span id it hangs under (0: none).

    Identity: `own` (the handler's arguments), then the context the caller is in, then, for the session only,
    the thread, session or conversation id in the run's metadata.
    """
    trace_id, parent_span_id = plugin.current_parent() or (plugin.new_trace_id(), 0)
    identity = _identity(own, plugin.current_identity(), session_of(metadata))
    scope = _scope(Tree(), trace_id, identity, conversation_of(metadata), agent)
    return scope, parent_span_id


def inner_scope(scope: Scope, metadata: Mapping[str, object], agent: str | None = None) -> Scope:
    """Return the scope of a run inside `scope`: the same, unless the run names what was not known or enters
    `agent`.
    """
    identity, conversation = scope.identity, scope.conversation
    if conversation is None:
        conversation = conversation_of(metadata)
    if identity.session_id is None:
        session = session_of(metadata)
        if session is not None:
            identity = replace(identity, session_id=session)
    if identity is scope.identity and conversation is scope.conversation and agent is None:
        return scope
    agent = scope.agent if agent is None else agent
    return _scope(scope.tree, scope.trace_id, identity, conversation, agent)


@lru_cache(maxsize=256)
def _identity(own: Identity, ambient: Identity, session: str | None) -> Identity:
    identity = own.over(ambient)
    if identity.session_id is None and session is not None:
        identity = replace(identity, session_id=session)
    return identity


def _scope(
    tree: Tree, trace_id: int, identity: Identity, conversation: str | None, agent: str | None
) -> Scope:
    attributes = identity.attributes
    if conversation is not None:
        attributes += plugin.text(c.CONVERSATION_ID, conversation)
    if agent:
        attributes += plugin.text(c.AGENT_NAME, agent)
    return Scope(tree, trace_id, identity, conversation, agent, attributes)
