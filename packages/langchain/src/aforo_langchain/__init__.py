"""Aforo plugin for LangChain and LangGraph: a callback handler, or one call that meters the whole process."""

from aforo_langchain.handler import AforoCallbackHandler
from aforo_langchain.instrumentor import instrument, uninstrument

__all__ = ["AforoCallbackHandler", "instrument", "uninstrument"]
