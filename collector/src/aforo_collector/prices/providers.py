"""One name per provider: OpenTelemetry's names, old and new, and LangChain's, as the public price data spells
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["ALIASES", "canonical_provider"]

ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "aws.bedrock": "aws",
        "amazon_bedrock": "aws",
        "bedrock": "aws",
        "bedrock_converse": "aws",
        "gcp.gemini": "google",
        "gcp.gen_ai": "google",
        "gcp.vertex_ai": "google",
        "gemini": "google",
        "vertex_ai": "google",
        "google_genai": "google",
        "google_vertexai": "google",
        "mistral_ai": "mistral",
        "mistralai": "mistral",
        "moonshot_ai": "moonshotai",
        "x_ai": "x-ai",
        "xai": "x-ai",
        "fireworks_ai": "fireworks",
        "together_ai": "together",
    }
)
"""Ids of the public price data by the names that spans carry; a name not listed stands for itself."""


def canonical_provider(name: str) -> str:
    """The provider id of the public price data for a name on a span, lower case; "" when the span names none.

    Everything of Azure is azure: it sells OpenAI's models at prices of its own, so it must not match
    "openai".
    """
    name = name.strip().lower()
    if name.startswith(("azure", "az.")):
        return "azure"
    return ALIASES.get(name, name)
