"""Meters AutoGen and AG2: one call, and every team, agent, tool and model call of the process is counted."""

from aforo_autogen.instrumentor import instrument, uninstrument

__all__ = ["instrument", "uninstrument"]
