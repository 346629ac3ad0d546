"""What an operation hands down to the operations inside it: the trace, who pays, the agent, the team.

It travels in a context variable of our own, which asyncio copies into every task that is started inside. The
one place where that fails is a runtime that several teams share: its tasks keep the context in which it was
started. There the id of the message's receiver names the team, and the team's scope is looked up.
"""

import weakref
from collections.abc import Iterator
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib import metadata
from itertools import count
from typing import Any, Final

from aforo_sdk import conventions as c
from aforo_sdk import plugin
from aforo_sdk.plugin import Identity

NOBODY: Final = Identity()

ROOT: Final = "root"
AGENT: Final = "agent"
TEAM: Final = "team"
TOOL: Final = "tool"

_NO_TEAMS: Final[frozenset[str]] = frozenset()


@dataclass(slots=True, eq=False)  # not frozen: made for every agent, tool and lone model call
class Scope:
    """What holds inside an operation; never changed.

    `kind` is one of this module's constants and `owner` the object it stands for; `span_id` is the parent of
    what is called inside (0: none); `agent` is the name of the agent that runs (empty: none); `attributes` are
    the encoded ones of identity and agent; `steps` numbers the calls of the whole tree; `teams` are the ids of
    all teams around.
    """

    kind: str
    owner: object
    trace_id: int
    span_id: int
    payer: Identity
    agent: str
    attributes: bytes
    steps: Iterator[int]
    teams: frozenset[str]


current: Final[ContextVar[Scope | None]] = ContextVar("aforo_autogen_scope", default=None)
teams: Final[dict[str, Scope]] = {}
"""Team id → scope of the team's last run, for as long as the team lives."""

_own: Identity | None = None


def meter_as(own: Identity | None) -> None:
    """Set who pays where the arguments of `instrument()` say so; None meters nothing from now on."""
    global _own
    _own = own


def is_active() -> bool:
    """Whether operations that start now are metered."""
    return _own is not None


def known() -> Scope | None:
    """The scope that encloses the code that runs now; None outside of everything that is metered."""
    scope = current.get()
    if teams:
        receiver = _receiver_key()
        if receiver in teams and (scope is None or receiver not in scope.teams):
            return teams[receiver]
    return scope


def root(own: Identity = NOBODY) -> Scope:
    """The scope of an operation that nothing metered encloses: under the ambient span if one is sampled.

    Identity: `own`, then the arguments of `instrument()`, then the context the caller is in.
    """
    trace_id, span_id = plugin.current_parent() or (plugin.new_trace_id(), 0)
    payer = _payer(own, _own or NOBODY, plugin.current_identity())
    return Scope(ROOT, None, trace_id, span_id, payer, "", payer.attributes, count(), _NO_TEAMS)


def within(scope: Scope, kind: str, owner: object, span_id: int) -> Scope:
    """The scope inside an open span."""
    trace_id, payer, agent = scope.trace_id, scope.payer, scope.agent
    return Scope(kind, owner, trace_id, span_id, payer, agent, scope.attributes, scope.steps, scope.teams)


def within_agent(scope: Scope, owner: object, name: str, span_id: int) -> Scope:
    """The scope inside an agent: its name stands on everything."""
    inner = within(scope, AGENT, owner, span_id)
    inner.agent = name
    inner.attributes = _named(scope.payer, name)
    return inner


def within_team(scope: Scope, team: Any, span_id: int) -> Scope:
    """The scope inside a team, from now on found by the team's id too. What calls no agent bears no name."""
    team_id = getattr(team, "_team_id", None)
    inner = within(scope, TEAM, team, span_id)
    inner.agent, inner.attributes = "", scope.payer.attributes
    if isinstance(team_id, str):
        inner = replace(inner, owner=team_id, teams=scope.teams | {team_id})  # an owner would never die
        if team_id not in teams:
            weakref.finalize(team, teams.pop, team_id, None).atexit = False
        teams[team_id] = inner
    return inner


@lru_cache(maxsize=256)
def _payer(own: Identity, process: Identity, ambient: Identity) -> Identity:
    return own.over(process).over(ambient)


@lru_cache(maxsize=1024)
def _named(payer: Identity, agent: str) -> bytes:
    return payer.attributes + plugin.text(c.AGENT_NAME, agent) if agent else payer.attributes


@cache
def releases() -> str:
    """The frameworks that are installed, with their versions."""
    found = []
    for name in ("autogen-core", "autogen-agentchat", "ag2"):
        with suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    return ", ".join(found)


def _receiver_key() -> str | None:
    """The key of the runtime agent whose message is being handled; AutoGen's teams make it the team's id."""
    try:
        from autogen_core import MessageHandlerContext

        return MessageHandlerContext.agent_id().key
    except (ImportError, AttributeError):
        plugin.warn_once(
            "autogen.receiver",
            f"there is no MessageHandlerContext any more ({releases()}): teams on a shared runtime may be billed to "
            "the session in which the runtime was started.",
        )
    except RuntimeError:  # no message is being handled
        pass
    return None
