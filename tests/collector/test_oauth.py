"""Access tokens: what OAuth clients get, what verifiers check, and what forgers try."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import jwt
import pytest
from aforo_collector.store.signing_keys import SigningKey, SigningKeys
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.collector.access import As, key_said
from tests.collector.running import Start, starter

READ = "/v1/sessions"


class Scene(NamedTuple):
    """A collector, a client of it, a token of that client, and the key that signed it."""

    owner: As
    client: dict[str, Any]
    token: str
    signing: SigningKey

    @property
    def http(self) -> httpx2.Client:
        """A client for the collector, without a credential."""
        return self.owner._collector.http

    def code(self, token: str) -> tuple[int, str]:
        """Status and code of what a token gets."""
        response = self.http.get(READ, headers={"Authorization": f"Bearer {token}"})
        return response.status_code, "" if response.is_success else response.json()["code"]

    def signed(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """The token with other claims (None takes one away), signed with the collector's own key."""
        said = jwt.decode(self.token, options={"verify_signature": False}) | claims
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, self.signing.private, "RS256", {"kid": self.signing.key_id} | (header or {}))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One collector for the tests of the module."""
    folder = tmp_path_factory.mktemp("oauth") / "data"
    with starter(folder) as start:
        collector = start()
        owner = As(collector, key_said(collector))
        client = owner.made(
            customerId="acme", teamId="ops", accessorType="AGENT", accessorId="bot", productType="AI_AGENT"
        )
        token = owner.token(client["clientId"], client["clientSecret"])
        [signing] = SigningKeys(folder).read()
        yield Scene(owner, client, token, signing)


def asked(scene: Scene, headers: dict[str, str] | None = None, **form: str) -> httpx2.Response:
    """The answer of the token endpoint; the fixture's client in the form unless told otherwise."""
    named = {
        "grant_type": "client_credentials",
        "client_id": scene.client["clientId"],
        "client_secret": scene.client["clientSecret"],
    }
    sent = {name: value for name, value in (named | form).items() if value != "-"}
    return scene.http.post("/oauth/token", data=sent, headers=headers)


def basic(name: str, secret: str) -> dict[str, str]:
    """HTTP Basic."""
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


def test_a_token_says_who_the_client_is_and_holds_for_a_quarter_of_an_hour(scene: Scene) -> None:
    """A verifier that knows nothing but the published keys reads customer, tenant, agent and scopes in it."""
    answer = asked(scene)
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    assert (document["token_type"], document["expires_in"]) == ("Bearer", 900)
    published = scene.http.get("/.well-known/jwks.json")
    assert "max-age=3600" in published.headers["cache-control"]
    assert [sorted(key) for key in published.json()["keys"]] == [["alg", "e", "kid", "kty", "n", "use"]]
    key = jwt.PyJWKSet.from_dict(published.json())[jwt.get_unverified_header(document["access_token"])["kid"]]
    claims = jwt.decode(
        document["access_token"], key, ["RS256"], issuer="aforo-collector",
        options={"require": ["exp", "nbf", "iat", "jti", "iss", "sub"]},
    )  # fmt: skip
    assert claims["exp"] - claims["iat"] == 900
    assert {name: claims[name] for name in claims if name not in ("exp", "nbf", "iat", "jti")} == {
        "iss": "aforo-collector", "sub": "acme", "customer_id": "acme", "team_id": "ops", "agent_id": "bot",
        "product_type": "AI_AGENT", "tenant_id": "default", "environment": "live",
        "key_id": scene.client["clientId"], "scopes": ["quotas:read", "usage:ingest", "usage:read"],
    }  # fmt: skip
    assert scene.code(document["access_token"]) == (200, "")


def test_a_client_may_name_itself_by_basic(scene: Scene) -> None:
    """HTTP Basic is as good as the form, and both at once are too many."""
    header = basic(scene.client["clientId"], scene.client["clientSecret"])
    assert asked(scene, header, client_id="-", client_secret="-").status_code == 200
    assert asked(scene, header, client_secret="-").status_code == 200
    assert asked(scene, header).json()["error"] == "invalid_request"


def test_a_token_may_have_fewer_scopes_than_its_client(scene: Scene) -> None:
    """What was not asked for is not allowed; what the client does not have is not given."""
    answer = asked(scene, scope="usage:ingest quotas:read").json()
    assert answer["scope"] == "quotas:read usage:ingest"
    assert scene.code(answer["access_token"]) == (403, "INSUFFICIENT_SCOPE")
    for scope in ("admin", "usage:read keys:write", "everything"):
        assert asked(scene, scope=scope).json()["error"] == "invalid_scope"


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"grant_type": "-"}, 400, "invalid_request"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"client_secret": "-"}, 401, "invalid_client"),
        ({"client_id": "-"}, 401, "invalid_client"),
        ({"client_secret": "cs_live_wrong"}, 401, "invalid_client"),
        ({"client_id": "key_of_somebody_else"}, 401, "invalid_client"),
        ({"client_id": "' OR 1=1 --"}, 401, "invalid_client"),
        ({"more": "x" * 20_000}, 413, "invalid_request"),
    ],
)
def test_errors_have_the_shape_of_oauth(scene: Scene, form: dict[str, str], status: int, error: str) -> None:
    """Errors are those of RFC 6749 5.2, never cached, and name what was wrong."""
    answer = asked(scene, **form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert set(answer.json()) == {"error", "error_description"}
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"


def test_malformed_requests_are_answered_as_oauth_says(scene: Scene) -> None:
    """JSON instead of a form, a parameter twice, and an Authorization that is not Basic."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    post = scene.http.post
    assert post("/oauth/token", json={}).json()["error"] == "invalid_request"
    twice = post("/oauth/token", content="grant_type=a&grant_type=b", headers=form)
    assert twice.json()["error"] == "invalid_request"
    assert post("/oauth/token", content=b"\xff=%ff", headers=form).json()["error"] == "invalid_request"
    for wrong in ("Bearer x", "Basic !", "Basic eA==", "Basic"):
        answer = asked(scene, {"Authorization": wrong}, client_id="-", client_secret="-")
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert answer.headers["www-authenticate"].startswith("Basic")


def test_who_may_exchange_a_secret(scene: Scene) -> None:
    """Clients must, keys of agentic APIs may, keys of standard APIs and operators may not."""
    owner = scene.owner
    for product_type, status in [("AGENTIC_API", 200), ("API", 400), (None, 400)]:
        made = owner.made(**({"customerId": "acme", "productType": product_type} if product_type else {}))
        answer = asked(scene, client_id=made["id"], client_secret=made["secret"])
        assert answer.status_code == status
        if status == 400:
            assert answer.json()["error"] == "unauthorized_client"
    client = As(owner._collector, scene.client["clientSecret"])("GET", READ)
    assert (client.status_code, client.json()["code"]) == (401, "INVALID_CREDENTIAL")
    assert "/oauth/token" in client.json()["detail"]


def part(value: Any) -> str:
    """A part of a token."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def test_forged_tokens_open_nothing(scene: Scene) -> None:
    """No algorithm, the public key as an HMAC secret, somebody else's key, changed claims, a stripped signature."""
    header, claims, signature = scene.token.split(".")
    kid = scene.signing.key_id
    public = scene.signing.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    said = jwt.decode(scene.token, options={"verify_signature": False})
    another = rsa.generate_private_key(65537, 2048)
    for algorithm in ("none", "None", "HS256", "RS384", "PS256", "ES256", "", None, 7):
        forged = f"{part({'alg': algorithm, 'kid': kid})}.{claims}."
        assert scene.code(forged) == (401, "UNSUPPORTED_ALGORITHM"), algorithm
    assert scene.code(f"{part({'kid': kid})}.{claims}.{signature}") == (401, "UNSUPPORTED_ALGORITHM")
    import hashlib
    import hmac

    signing_input = f"{part({'alg': 'HS256', 'kid': kid})}.{claims}"
    mac = hmac.new(public, signing_input.encode(), hashlib.sha256).digest()
    assert scene.code(f"{signing_input}.{part(mac)}") == (401, "UNSUPPORTED_ALGORITHM")
    invalid = (401, "INVALID_SIGNATURE")
    assert scene.code(f"{part({'alg': 'RS256', 'kid': kid})}.{claims}.{part(mac)}") == invalid
    assert scene.code(jwt.encode(said, another, "RS256", {"kid": kid})) == invalid
    assert scene.code(jwt.encode(said, another, "RS256", {"kid": "mine"})) == invalid
    jwk = {"kid": kid, "jwk": json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(another.public_key()))}
    assert scene.code(jwt.encode(said, another, "RS256", jwk)) == invalid
    assert scene.code(f"{header}.{part(said | {'customer_id': 'globex'})}.{signature}") == invalid
    assert scene.code(f"{header}.{claims}.") == invalid
    assert scene.code(scene.token) == (200, "")


def test_tokens_are_checked_in_order(scene: Scene) -> None:
    """Size and form, algorithm, signature, expiry, start with a minute's grace, issuer, revocation: each its code."""
    now_s = int(time.time())
    assert scene.code("a" * 8192 + "." + "b.c") == (401, "MALFORMED_TOKEN")
    assert scene.code(scene.signed(padding="x" * 8192)) == (401, "MALFORMED_TOKEN")
    for wrong in ("a.b", "a.b.c.d", "..", "a..c", f"{part(b'[]')}.{part({})}.", f"{part(b'{')}.x.y"):
        assert scene.code(wrong) == (401, "MALFORMED_TOKEN"), wrong
    assert scene.code(scene.signed(exp=now_s)) == (401, "TOKEN_EXPIRED")
    assert scene.code(scene.signed(exp=now_s, nbf=now_s + 900, iss="x")) == (401, "TOKEN_EXPIRED")
    assert scene.code(scene.signed(nbf=now_s + 120, iss="x")) == (401, "TOKEN_NOT_YET_VALID")
    assert scene.code(scene.signed(nbf=now_s + 30)) == (200, "")
    assert scene.code(scene.signed(iss="x", key_id="nobody")) == (401, "INVALID_ISSUER")
    assert scene.code(scene.signed(iss=None)) == (401, "INVALID_ISSUER")
    assert scene.code(scene.signed(key_id="nobody")) == (401, "CLIENT_REVOKED")
    for name in ("exp", "key_id", "scopes"):
        assert scene.code(scene.signed(**{name: None})) == (401, "MALFORMED_TOKEN"), name
    for name, value in [
        ("exp", "9999999999"),
        ("exp", True),
        ("nbf", "x"),
        ("key_id", 7),
        ("scopes", "admin"),
    ]:
        assert scene.code(scene.signed(**{name: value})) == (401, "MALFORMED_TOKEN"), (name, value)


def test_a_token_never_allows_more_than_its_client(scene: Scene) -> None:
    """Even a token that the collector signed with more scopes has those of the client at most."""
    token = scene.signed(scopes=["admin", "keys:write", "usage:read"])
    assert scene.code(token) == (200, "")
    answer = scene.http.get("/v1/api-keys", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["code"]) == (403, "INSUFFICIENT_SCOPE")


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_no_change_of_a_token_gets_in(scene: Scene, data: st.DataObject) -> None:
    """Any token with one character different is refused with 401, unless it spells the same bytes."""
    at = data.draw(st.integers(0, len(scene.token) - 1))
    char = data.draw(st.characters(min_codepoint=33, max_codepoint=126))
    changed = scene.token[:at] + char + scene.token[at + 1 :]
    same = [base64.urlsafe_b64decode(p + "==") for p in scene.token.split(".")]
    try:
        is_same = [base64.urlsafe_b64decode(p + "==") for p in changed.split(".")] == same
    except ValueError:
        is_same = False
    assert scene.code(changed)[0] == (200 if is_same else 401)


def test_tokens_outlive_a_restart_and_not_their_signing_key(start: Start, tmp_path: Path) -> None:
    """The key that signs is kept; one that its operator deletes is refused from the next start on."""
    collector = start()
    secret = key_said(collector)
    owner = As(collector, secret)
    made = owner.made(customerId="acme", productType="MCP_SERVER")
    token = owner.token(made["clientId"], made["clientSecret"])
    collector.kill()
    collector = start()
    assert As(collector, token, "Authorization")("GET", READ).status_code == 200
    collector.stop()
    [path] = (tmp_path / "data" / "signing-keys").iterdir()
    path.unlink()
    collector = start(AFORO_TOKEN_ISSUER="somebody")
    refused = As(collector, token, "Authorization")("GET", READ)
    assert (refused.status_code, refused.json()["code"]) == (401, "INVALID_SIGNATURE")
    new = As(collector, secret).token(made["clientId"], made["clientSecret"])
    assert jwt.decode(new, options={"verify_signature": False})["iss"] == "somebody"


def test_a_single_token_can_be_revoked(tmp_path: Path) -> None:
    """From the answer on it opens nothing, also after a restart; other tokens of its client hold as before."""
    folder = tmp_path / "data"
    with starter(folder) as start:
        collector = start()
        owner = As(collector, key_said(collector))
        client = owner.made(customerId="acme", productType="AI_AGENT")
        named = {"client_id": client["clientId"], "client_secret": client["clientSecret"]}
        first, second = (owner.token(client["clientId"], client["clientSecret"]) for _ in range(2))

        def code(token: str) -> str:
            response = collector.http.get(READ, headers={"Authorization": f"Bearer {token}"})
            return "" if response.is_success else f"{response.status_code} {response.json()['code']}"

        for _ in range(2):
            answer = collector.http.post("/oauth/revoke", data={"token": first, **named})
            assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
            assert (code(first), code(second)) == ("401 TOKEN_REVOKED", "")
        collector.stop()
        collector = start()
        assert (code(first), code(second)) == ("401 TOKEN_REVOKED", "")
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        key = {"X-API-Key": owner.secret, **form}
        assert collector.http.post("/oauth/revoke", data={"token": second}, headers=key).status_code == 200
        assert code(second) == "401 TOKEN_REVOKED"


def test_nobody_revokes_the_tokens_of_others(scene: Scene) -> None:
    """Another client, a customer's key, a wrong secret and nobody get an error, and the token holds."""
    other = scene.owner.made(customerId="globex", productType="AI_AGENT")
    theirs = {"client_id": other["clientId"], "client_secret": other["clientSecret"]}
    key = scene.owner.key(customerId="acme")
    for form, headers, status, said in (
        (theirs, {}, 400, "unauthorized_client"),
        (theirs | {"client_secret": "cs_live_wrong"}, {}, 401, "invalid_client"),
        ({}, {}, 401, "invalid_client"),
        ({}, {"X-API-Key": key.secret}, 403, "invalid_client"),
    ):
        answer = scene.http.post("/oauth/revoke", data={"token": scene.token, **form}, headers=headers)
        document = answer.json()
        assert (answer.status_code, document["error"]) == (status, said)
        assert scene.code(scene.token) == (200, "")
    for token in ("", "nothing", scene.token + "x", scene.signed(exp=1), scene.signed(jti=None)):
        assert scene.http.post("/oauth/revoke", data={"token": token, **theirs}).status_code == 200
    assert scene.http.post("/oauth/revoke", data=theirs).json()["error"] == "invalid_request"
    assert scene.code(scene.signed(jti=["a"])) == (401, "MALFORMED_TOKEN")
