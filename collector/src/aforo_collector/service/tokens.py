"""Access tokens: issued for client credentials, checked in the order of the gateways, signed by keys that turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from secrets import token_urlsafe
from threading import Lock
from typing import Any, Final

import jwt
from jwt.algorithms import RSAAlgorithm
from jwt.types import Options

from aforo_collector.domain.credential import Credential, Scope, Status
from aforo_collector.domain.token import (
    CLIENT_REVOKED,
    INVALID_SIGNATURE,
    LENGTH_MAX,
    LIFE_S,
    MALFORMED,
    REVOKED,
    UNSUPPORTED_ALGORITHM,
    claims_of,
    is_key_due,
    outlived,
    refusal_of,
    signer,
)
from aforo_collector.store.signing_keys import SigningKey, SigningKeys

from .keyring import Denied, Keyring

ALGORITHM: Final = "RS256"
_NS_PER_S: Final = 1_000_000_000
# What a token says is judged by `refusal_of`, in its order and with its clock.
_SIGNATURE_ONLY: Final[Options] = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}
_JWK_FIELDS: Final = ("kty", "n", "e")


class InvalidScope(ValueError):
    """Scopes that the client does not have, or that do not exist."""


class NotYours(Exception):
    """A token that somebody else may revoke, but not who asks. Nothing was changed."""


class Tokens:
    """Issues and checks access tokens; for any thread."""

    def __init__(
        self, keyring: Keyring, files: SigningKeys, issuer: str, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._keyring = keyring
        self._files = files
        self._issuer = issuer
        self._clock_ns = clock_ns
        self._turning = Lock()
        self._keys = {key.key_id: key for key in files.read()}

    def issue(self, credential: Credential, asked: str) -> dict[str, Any]:
        """The answer of RFC 6749 5.1: a token for these scopes (by blanks), or for all that it has.

        Raises `InvalidScope`.
        """
        scopes = frozenset(asked.split()) or credential.scopes
        if not scopes <= set(Scope) or not credential.allows_all(scopes):
            raise InvalidScope(f"the client has the scopes {' '.join(sorted(credential.scopes))}")
        now_s = self._clock_ns() // _NS_PER_S
        keys = self._turned(now_s)
        made_s = signer([key.made_s for key in keys], now_s)
        key = next(key for key in keys if key.made_s == made_s)
        claims = claims_of(credential, scopes, self._issuer, token_urlsafe(16), now_s)
        token = jwt.encode(claims, key.private, ALGORITHM, {"kid": key.key_id})
        return {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": LIFE_S,
            "scope": " ".join(sorted(scopes)),
        }

    def credential_of(self, token: str) -> Credential:
        """The credential that a token was issued for, with the token's scopes; raises `Denied`."""
        claims = self._claims(token)
        reason = refusal_of(claims, self._issuer, self._clock_ns() // _NS_PER_S)
        if reason:
            raise Denied(reason, "the token does not hold; get another one at /oauth/token")
        if self._keyring.has_ended(claims["jti"]):
            raise Denied(REVOKED, "the token was revoked; get another one at /oauth/token")
        credential = self._keyring.of_id(claims["key_id"])
        if credential is None or credential.status_at(self._clock_ns()) == Status.REVOKED:
            raise Denied(CLIENT_REVOKED, "the client that the token was issued for is revoked")
        self._keyring.usable(credential)
        return replace(
            credential, scopes=frozenset(scope for scope in claims["scopes"] if credential.allows(scope))
        )

    def revoke(self, token: str, may: Callable[[Credential], bool]) -> None:
        """End a token before its time; one that does not hold is left alone.

        `may` says whether whoever asks may end the tokens of a credential; raises `NotYours` if not.
        """
        try:
            claims = self._claims(token)
        except Denied:
            return
        credential = self._keyring.of_id(str(claims.get("key_id")))
        if credential is None or refusal_of(claims, self._issuer, self._clock_ns() // _NS_PER_S):
            return
        if not may(credential):
            raise NotYours("the token was issued for another client; it holds as before")
        self._keyring.end_token(claims["jti"], claims["exp"] * _NS_PER_S)

    def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > LENGTH_MAX or token.count(".") != 2:
            raise Denied(
                MALFORMED, f"no token of three parts and at most {LENGTH_MAX} characters; get a new one"
            )
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") != ALGORITHM:
                raise Denied(UNSUPPORTED_ALGORITHM, f"the token is not signed with {ALGORITHM}")
            key = self._keys.get(header.get("kid", ""))
            if key is None:
                raise Denied(INVALID_SIGNATURE, "no key of this collector has signed the token")
            return jwt.decode(token, key.private.public_key(), [ALGORITHM], options=_SIGNATURE_ONLY)
        except jwt.InvalidSignatureError:
            raise Denied(INVALID_SIGNATURE, "the token's signature is not of its contents") from None
        except jwt.InvalidTokenError:
            raise Denied(MALFORMED, "the token cannot be read") from None

    def published(self) -> dict[str, Any]:
        """The public keys as a JSON Web Key Set (RFC 7517)."""
        keys = self._turned(self._clock_ns() // _NS_PER_S)
        return {"keys": [_jwk(key) for key in keys]}

    def _turned(self, now_s: int) -> list[SigningKey]:
        """The keys in force, oldest first; one is made when it is time to, and those that have outlived go."""
        with self._turning:
            if is_key_due([key.made_s for key in self._keys.values()], now_s):
                made = self._files.make(now_s)
                self._keys[made.key_id] = made
            for made_s in outlived([key.made_s for key in self._keys.values()], now_s):
                for key in [key for key in self._keys.values() if key.made_s == made_s]:
                    self._files.delete(key.key_id)
                    del self._keys[key.key_id]
            return sorted(self._keys.values(), key=lambda key: key.made_s)


def _jwk(key: SigningKey) -> dict[str, Any]:
    public = RSAAlgorithm.to_jwk(key.private.public_key(), as_dict=True)
    return {"kid": key.key_id, "use": "sig", "alg": ALGORITHM} | {name: public[name] for name in _JWK_FIELDS}
