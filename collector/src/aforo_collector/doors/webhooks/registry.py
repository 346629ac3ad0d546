"""The providers that are known, by the name that a source gives."""

from __future__ import annotations

from collections.abc import Mapping

from . import custom, github, sendgrid, slack, standard, stripe, twilio
from .provider import Provider

PROVIDERS: Mapping[str, Provider] = {
    one.PROVIDER.name: one.PROVIDER for one in (stripe, twilio, sendgrid, github, slack, standard, custom)
}


def provider_of(name: str, options: Mapping[str, str]) -> Provider:
    """The provider of a source; options are for `custom` alone. Raises `KeyError` for a name that is unknown."""
    return custom.provider(options) if options else PROVIDERS[name]
