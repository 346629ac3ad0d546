"""AutoGen's own spans (autogen-core 0.7): agents and tools, no calls of a model and so no tokens.

The runtime's message spans (`autogen publish …`) bill nothing and hold the tree together.
"""

from __future__ import annotations

from typing import Final

from aforo_sdk import conventions as c

from .values import Attributes
from .vocabulary import Dialect, stated, without_models


def _operation(attributes: Attributes, span_name: str) -> str:
    del span_name
    return stated(attributes, c.OPERATION_NAME)


AUTOGEN: Final = Dialect(
    name="autogen",
    scopes=("autogen-core", "autogen SingleThreadedAgentRuntime"),
    operation=_operation,
    amend=without_models,
)
"""`gen_ai.system` is "autogen", which is no provider, and an agent's id is made anew for every team."""
