"""What a credential said of who pays, kept beside what came in under it so that it reads the same again."""

from __future__ import annotations

import json

from aforo_collector.domain.identity import NOBODY, Identity


def caller_text(caller: Identity) -> str:
    """A caller as it is kept; nothing for one of whom the credential says nothing."""
    return "" if caller == NOBODY else json.dumps(caller)


def caller_of(text: str) -> Identity:
    """The caller that was kept; `NOBODY` itself for nothing."""
    return Identity(*json.loads(text)) if text else NOBODY
