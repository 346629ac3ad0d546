"""Access tokens: what a token says of a credential, which tokens are refused, and how signing keys take turns.

The order of checks is that of the gateways (reference 11.2): size and form, algorithm, signature, expiry,
start, issuer, revocation; each has a code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .credential import Credential

MALFORMED: Final = "MALFORMED_TOKEN"
UNSUPPORTED_ALGORITHM: Final = "UNSUPPORTED_ALGORITHM"
INVALID_SIGNATURE: Final = "INVALID_SIGNATURE"
EXPIRED: Final = "TOKEN_EXPIRED"
NOT_YET_VALID: Final = "TOKEN_NOT_YET_VALID"
INVALID_ISSUER: Final = "INVALID_ISSUER"
REVOKED: Final = "TOKEN_REVOKED"
CLIENT_REVOKED: Final = "CLIENT_REVOKED"

LENGTH_MAX: Final = 8192
LIFE_S: Final = 15 * 60
LEEWAY_S: Final = 60
PUBLISHED_S: Final = 3600
"""Readers keep the published keys for an hour, so a key is published that long before it signs."""
SIGNING_S: Final = 30 * 86_400


def claims_of(
    credential: Credential, scopes: frozenset[str], issuer: str, token_id: str, now_s: int
) -> dict[str, Any]:
    """What a token of a credential says; without what the credential does not have."""
    identity = credential.identity
    named = {
        "customer_id": identity.customer_id,
        "team_id": identity.team_id,
        "agent_id": identity.agent_id,
        "app_id": identity.app_id,
        "product_type": identity.product_type,
    }
    return {
        "iss": issuer,
        "sub": identity.customer_id or credential.key_id,
        "jti": token_id,
        "iat": now_s,
        "nbf": now_s,
        "exp": now_s + LIFE_S,
        "tenant_id": credential.owner_id,
        "environment": credential.environment,
        "key_id": credential.key_id,
        "scopes": sorted(scopes),
        **{name: value for name, value in named.items() if value},
    }


def refusal_of(claims: Mapping[str, Any], issuer: str, now_s: int) -> str:
    """Why a token whose signature holds is refused all the same, as a code; "" when it is not."""
    expires, starts = claims.get("exp"), claims.get("nbf", 0)
    scopes = claims.get("scopes")
    if (
        type(expires) is not int
        or type(starts) is not int
        or not isinstance(claims.get("key_id"), str)
        or not isinstance(claims.get("jti"), str)
        or not isinstance(scopes, list)
        or not all(isinstance(scope, str) for scope in scopes)
    ):
        return MALFORMED
    if expires <= now_s:
        return EXPIRED
    if starts > now_s + LEEWAY_S:
        return NOT_YET_VALID
    return "" if claims.get("iss") == issuer else INVALID_ISSUER


def signer(made_s: Sequence[int], now_s: int) -> int:
    """When the key was made that signs now, of keys by the time they were made (at least one)."""
    published = [at for at in made_s if at <= now_s - PUBLISHED_S]
    return max(published) if published else min(made_s)


def is_key_due(made_s: Sequence[int], now_s: int) -> bool:
    """Whether it is time to make another key."""
    return not made_s or max(made_s) <= now_s - SIGNING_S


def outlived(made_s: Sequence[int], now_s: int) -> list[int]:
    """The keys of which no valid token can be left: another has signed for longer than a token lives."""
    followed = [at for at in made_s if at <= now_s - PUBLISHED_S - LIFE_S - LEEWAY_S]
    return [at for at in followed if at != max(followed)]
