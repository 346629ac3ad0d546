"""Meters CrewAI: one call, and every crew, agent, task, tool and model call of the process is counted."""

from aforo_crewai.instrumentor import instrument, uninstrument

__all__ = ["instrument", "uninstrument"]
