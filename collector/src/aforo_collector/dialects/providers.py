"""OpenTelemetry's well-known names of model providers for what other instrumentations call them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

PROVIDERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "amazon-bedrock": "aws.bedrock",
        "amazon_bedrock": "aws.bedrock",
        "aws": "aws.bedrock",
        "aws_bedrock": "aws.bedrock",
        "bedrock": "aws.bedrock",
        "bedrock_converse": "aws.bedrock",
        "az.ai.inference": "azure.ai.inference",
        "az.ai.openai": "azure.ai.openai",
        "azure": "azure.ai.openai",
        "azure_ai": "azure.ai.inference",
        "azure_openai": "azure.ai.openai",
        "gemini": "gcp.gemini",
        "google": "gcp.gen_ai",
        "google-gla": "gcp.gemini",
        "google-vertex": "gcp.vertex_ai",
        "google_genai": "gcp.gemini",
        "google_vertexai": "gcp.vertex_ai",
        "vertex_ai": "gcp.vertex_ai",
        "vertexai": "gcp.vertex_ai",
        "ibm": "ibm.watsonx.ai",
        "watsonx": "ibm.watsonx.ai",
        "mistral": "mistral_ai",
        "mistralai": "mistral_ai",
        "moonshot": "moonshot_ai",
        "moonshotai": "moonshot_ai",
        "xai": "x_ai",
    }
)
"""Names that differ; one that is not listed stands for itself."""

FRAMEWORKS: Final = frozenset(
    {"ag2", "autogen", "crewai", "langchain", "langgraph", "llamaindex", "pydantic-ai"}
)
"""Names that instrumentations give for the provider when they know only who called it."""


def provider_of(name: str) -> str:
    """The provider's name as OpenTelemetry spells it; "" for a framework, which charges nobody."""
    name = name.strip().lower()
    return "" if name in FRAMEWORKS else PROVIDERS.get(name, name)
