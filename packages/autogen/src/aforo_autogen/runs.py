"""Agents and teams: what holds the calls of a run together. They bill nothing themselves."""

from typing import Any

from aforo_sdk import plugin

from aforo_autogen import scopes
from aforo_autogen.frames import Frame, Silent
from aforo_autogen.scopes import Scope

_RESULTS = frozenset({"Response", "TaskResult"})


class Run(Frame):
    """A run of an agent or a team."""

    __slots__ = ()

    def enter(self, inner: Scope) -> "Run":
        """Set what holds inside; an agent's name stands on its own span too."""
        self.value = inner
        self.stamp = inner.attributes
        return self

    def see(self, item: Any) -> None:
        """A stream ends with its result: who stops reading there has not abandoned it."""
        if type(item).__name__ in _RESULTS:
            self.end(item)


def open_agent(agent: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Frame:
    """Start an agent's turn. `on_messages` and `on_messages_stream` call each other: they are one turn."""
    scope = scopes.known() or scopes.root()
    return start_agent(agent, str(agent.name), scope)


def start_agent(owner: object, name: str, scope: Scope) -> Frame:
    """Start a turn of `owner`, or go on with it if it is what runs."""
    if scope.kind == scopes.AGENT and scope.owner is owner:
        return Silent(scope)
    run = Run(plugin.agent_call(name), scope)
    return run.enter(scopes.within_agent(scope, owner, name, run.span_id))


def open_team(team: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Frame:
    """Start a run of a team."""
    scope = scopes.known() or scopes.root()
    if scope.kind == scopes.TEAM and scope.owner == getattr(team, "_team_id", team):
        return Silent(scope)
    run = Run(plugin.workflow(str(getattr(team, "name", "") or type(team).__name__)), scope)
    return run.enter(scopes.within_team(scope, team, run.span_id))
