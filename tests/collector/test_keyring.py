"""The keyring between two moments: what a request sees of a credential that somebody deletes meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from aforo_collector.service.keyring import Denied, Keyring, digest_of
from aforo_collector.store.credential_rows import StoredSecret


def test_a_key_that_is_deleted_while_it_is_looked_up_is_unknown() -> None:
    """Its secret was found and its credential is gone: the request is refused, as any after it."""
    unused: Any = None
    secrets = [StoredSecret(digest_of("sk_live_x"), "key_1", 0)]
    keyring = Keyring(unused, unused, unused, [], secrets, {})
    with pytest.raises(Denied, match="not known here") as denied:
        keyring.of_key("sk_live_x")
    assert denied.value.code == "INVALID_CREDENTIAL"
