"""Signatures of webhooks are believed exactly when the provider's own library believes them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from unittest.mock import patch
from urllib.parse import urlencode

import pytest
from aforo_collector.doors.webhooks import custom, sendgrid, standard
from aforo_collector.doors.webhooks.provider import BadSignature, Incoming, Provider
from aforo_collector.doors.webhooks.registry import PROVIDERS
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sendgrid.helpers.eventwebhook import EventWebhook
from slack_sdk.signature import SignatureVerifier
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError
from stripe import WebhookSignature
from stripe._error import SignatureVerificationError
from twilio.request_validator import RequestValidator, get_signature_algorithm

NOW_S = 1_790_000_000
URL = "https://billing.example.com/v1/ingest/webhook/x?customerId=acme"
FORM = "application/x-www-form-urlencoded"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
times = st.one_of(
    st.integers(NOW_S - 400, NOW_S + 400),
    st.sampled_from([NOW_S - 301, NOW_S - 300, NOW_S - 299, NOW_S, NOW_S + 299, NOW_S + 300, NOW_S + 301, 0]),
)
tampering = st.sampled_from(["", "", "body", "secret", "signature", "header"])
few = settings(max_examples=60)

KEY = ec.generate_private_key(ec.SECP256R1())
PRIVATE = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
PUBLIC = base64.b64encode(
    KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()


def believes(provider: Provider, secret: str, headers: Mapping[str, str], body: str, url: str = URL) -> bool:
    """Whether we believe a delivery."""
    incoming = Incoming({name.lower(): value for name, value in headers.items()}, url, body.encode())
    try:
        provider.verify([secret], incoming, NOW_S)
    except BadSignature:
        return False
    return True


def changed(text: str) -> str:
    """The text with one character replaced."""
    return text[:-3] + ("A" if text[-3:-2] != "A" else "B") + text[-2:]


@few
@given(body=texts, secret=secrets, sent_s=times, tamper=tampering)
def test_stripe(body: str, secret: str, sent_s: int, tamper: str) -> None:
    """What Stripe's library signs is believed when it believes it, and nothing else."""
    header = WebhookSignature.generate_signature_header(body, secret, sent_s)
    if tamper == "signature":
        header = changed(header)
    elif tamper == "header":
        header = header.replace("v1=", "v0=")
    body += "x" if tamper == "body" else ""
    secret += "x" if tamper == "secret" else ""
    try:
        with patch("time.time", lambda: float(NOW_S)):
            expected = bool(WebhookSignature.verify_header(body, header, secret, 300))
    except SignatureVerificationError:
        expected = False
    assert believes(PROVIDERS["stripe"], secret, {"Stripe-Signature": header}, body) is expected


@few
@given(body=texts, secret=secrets, sent_s=times, tamper=tampering)
def test_slack(body: str, secret: str, sent_s: int, tamper: str) -> None:
    """What Slack's library signs is believed when it believes it, and nothing else."""
    signature = SignatureVerifier(secret).generate_signature(timestamp=str(sent_s), body=body) or ""
    if tamper == "signature":
        signature = changed(signature)
    elif tamper == "header":
        sent_s += 1
    body += "x" if tamper == "body" else ""
    secret += "x" if tamper == "secret" else ""
    headers = {"X-Slack-Signature": signature, "X-Slack-Request-Timestamp": str(sent_s)}
    verifier = SignatureVerifier(secret, type("Clock", (), {"now": lambda self: NOW_S})())
    expected = verifier.is_valid_request(body, headers)
    assert believes(PROVIDERS["slack"], secret, headers, body) is expected


@few
@given(
    body=texts, key=st.binary(min_size=1, max_size=40), sent_s=times, tamper=tampering, prefix=st.booleans()
)
def test_standard(body: str, key: bytes, sent_s: int, tamper: str, prefix: bool) -> None:
    """What the library of Standard Webhooks signs is believed when it believes it, and nothing else."""
    secret = ("whsec_" if prefix else "") + base64.b64encode(key).decode()
    at = datetime.fromtimestamp(sent_s, UTC)
    signature = Webhook(secret).sign("msg_1", at, body)
    if tamper == "signature":
        signature = signature[:3] + changed(signature[3:])
    elif tamper == "header":
        signature = f"v0,{signature[3:]} nonsense"
    body += "x" if tamper == "body" else ""
    secret = standard.mint(key + b"x") if tamper == "secret" else secret
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(sent_s),
        "webhook-signature": f"v1a,AAAA {signature}",
    }
    try:
        with patch("standardwebhooks.webhooks.datetime", _Frozen):
            Webhook(secret).verify(body, headers, json_parse=False)
        expected = True
    except (WebhookVerificationError, ValueError):
        expected = False
    assert believes(PROVIDERS["standard"], secret, headers, body) is expected


class _Frozen(datetime):
    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return datetime.fromtimestamp(NOW_S, UTC)


fields = st.dictionaries(texts.filter(bool), texts, max_size=6)
ports = st.sampled_from(["", ":443", ":80", ":8443"])


@few
@given(form=fields, secret=secrets, tamper=tampering, port=ports, signed_port=ports, algorithm=st.booleans())
def test_twilio_forms(
    form: dict[str, str], secret: str, tamper: str, port: str, signed_port: str, algorithm: bool
) -> None:
    """What Twilio's library signs of a form is believed when it believes it, with and without the port."""
    url, signed_url = (
        f"https://billing.example.com{said}/hook?customerId=a%20b" for said in (port, signed_port)
    )
    name = "HMAC_SHA256" if algorithm else None
    signature = RequestValidator(secret).compute_signature(signed_url, form, name)
    headers = {"Content-Type": FORM}
    if algorithm:
        headers["X-Twilio-Webhooks-Signature-Settings"] = "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"
    if tamper == "signature":
        signature = changed(signature)
    elif tamper == "header":
        headers["X-Twilio-Webhooks-Signature-Settings"] = "algorithm=HMAC_MD5"
    elif tamper == "body":
        form = form | {"more": "x"}
    secret += "x" if tamper == "secret" else ""
    settings_header = headers.get("X-Twilio-Webhooks-Signature-Settings")
    expected = RequestValidator(secret).validate(
        url, form, signature, get_signature_algorithm(settings_header)
    )
    headers["X-Twilio-Signature"] = signature
    assert believes(PROVIDERS["twilio"], secret, headers, urlencode(form), url) is expected


@few
@given(body=texts.filter(bool), secret=secrets, tamper=tampering)
def test_twilio_json(body: str, secret: str, tamper: str) -> None:
    """A JSON body is believed when the signed URL carries its hash, as Twilio's library says."""
    url = f"https://billing.example.com/hook?bodySHA256={sha256(body.encode()).hexdigest()}"
    signature = RequestValidator(secret).compute_signature(url, {})
    if tamper == "signature":
        signature = changed(signature)
    elif tamper == "header":
        url = changed(url)
    body += "x" if tamper == "body" else ""
    secret += "x" if tamper == "secret" else ""
    expected = RequestValidator(secret).validate(url, body, signature)
    headers = {"X-Twilio-Signature": signature, "Content-Type": "application/json"}
    assert believes(PROVIDERS["twilio"], secret, headers, body, url) is expected


def test_twilio_without_a_hash_covers_no_json_body() -> None:
    """A signed URL alone is no signature of a body that is no form."""
    url = "https://billing.example.com/hook"
    signature = RequestValidator("token").compute_signature(url, {})
    headers = {"X-Twilio-Signature": signature, "Content-Type": "application/json"}
    assert not believes(PROVIDERS["twilio"], "token", headers, '{"a": 1}', url)
    assert not believes(PROVIDERS["twilio"], "token", headers, FORM, url)


@few
@given(body=texts, tamper=tampering, sent_s=st.integers(NOW_S - 80_000, NOW_S))
def test_sendgrid(body: str, tamper: str, sent_s: int) -> None:
    """What is signed with SendGrid's private key is believed when SendGrid's library believes it."""
    signature = base64.b64encode(KEY.sign(f"{sent_s}{body}".encode(), ec.ECDSA(SHA256()))).decode()
    body += "x" if tamper == "body" else ""
    sent_s += 1 if tamper in ("header", "signature") else 0
    public = OTHER_PUBLIC if tamper == "secret" else PUBLIC
    verifier = EventWebhook(public)
    expected = verifier.verify_signature(body, signature, str(sent_s))
    headers = {sendgrid.HEADER: signature, sendgrid.TIME_HEADER: str(sent_s)}
    assert believes(PROVIDERS["sendgrid"], public, headers, body) is expected


OTHER_PUBLIC = base64.b64encode(
    ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()


def test_sendgrid_forgets_after_a_day() -> None:
    """A signature that is older than SendGrid's last attempt is somebody's recording."""
    for age_s, expected in ((0, True), (86_000, True), (87_000, False), (-400, False)):
        incoming = Incoming({}, URL, b"[]")
        headers = sendgrid.sign(PRIVATE, incoming, NOW_S - age_s)
        assert believes(PROVIDERS["sendgrid"], PUBLIC, headers, "[]") is expected


def test_github() -> None:
    """GitHub's own example is believed, and not with another body, scheme or secret."""
    secret, body = "It's a Secret to Everybody", "Hello, World!"
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    header, github = "X-Hub-Signature-256", PROVIDERS["github"]
    assert believes(github, secret, {header: signature}, body)
    assert not believes(github, secret, {header: signature}, body + "!")
    assert not believes(github, secret + "!", {header: signature}, body)
    assert not believes(github, secret, {header: signature.removeprefix("sha256=")}, body)
    assert not believes(github, secret, {"X-Hub-Signature": signature}, body)


secret_of = {"sendgrid": (PRIVATE, PUBLIC), "standard": (standard.mint(b"k" * 32),) * 2}
schemes = [
    *PROVIDERS.values(),
    custom.provider(
        {"signatureHeader": "X-Sign", "signatureEncoding": "base64", "timestampHeader": "X-Time"}
    ),
    custom.provider({"timestampHeader": "X-Time"}),
]


@pytest.mark.parametrize("provider", schemes, ids=[*PROVIDERS, "custom-base64", "custom-time"])
def test_what_we_sign_is_believed_under_either_secret(provider: Provider) -> None:
    """A sample that is signed verifies with its secret first or second in line; a changed byte does not."""
    signing, verifying = secret_of.get(provider.name, ("s" * 20, "s" * 20))
    other = {"sendgrid": OTHER_PUBLIC, "standard": standard.mint(b"o" * 32)}.get(provider.name, "other")
    sample = provider.sample("1", NOW_S)
    headers = {name.lower(): value for name, value in sample.headers.items()}
    incoming = Incoming(headers, URL, sample.body)
    signed = headers | {
        name.lower(): value for name, value in provider.sign(signing, incoming, NOW_S).items()
    }
    for held in ([verifying], [verifying, other], [other, verifying]):
        provider.verify(held, Incoming(signed, URL, sample.body), NOW_S)
    for held, body in (([other], sample.body), ([verifying], sample.body + b" "), ([], sample.body)):
        with pytest.raises(BadSignature):
            provider.verify(held, Incoming(signed, URL, body), NOW_S)


HEADERS = (
    "content-type stripe-signature x-twilio-signature x-twilio-webhooks-signature-settings x-hub-signature-256"
    " x-twilio-email-event-webhook-signature x-twilio-email-event-webhook-timestamp x-slack-signature x-sign x-time"
    " x-slack-request-timestamp webhook-id webhook-timestamp webhook-signature"
).split()
headers = st.dictionaries(
    st.sampled_from(HEADERS),
    st.one_of(
        texts,
        st.sampled_from(["t=1,v1=", "v1,", f"t={NOW_S},v1=é", "v0=", str(NOW_S), FORM, "sha256=", "=", ",,"]),
    ),
)
urls = st.sampled_from([URL, "https://x:99999/", "http://[::1/", "", "https://u:p@h:1/?bodySHA256="])


@settings(max_examples=150)
@given(provider=st.sampled_from(schemes), headers=headers, url=urls, body=st.binary(max_size=40))
@example(PROVIDERS["twilio"], {"x-twilio-signature": "x", "content-type": FORM}, URL, b"a=%ff&\xff")
@example(PROVIDERS["twilio"], {"x-twilio-signature": "x"}, "http://[::1/", b"{}")
def test_anything_may_stand_in_the_headers(
    provider: Provider, headers: dict[str, str], url: str, body: bytes
) -> None:
    """Whatever the headers, the URL and the body are, an unsigned delivery is refused and nothing else."""
    held = secret_of.get(provider.name, ("s", "s"))[1]
    with pytest.raises(BadSignature):
        provider.verify([held], Incoming(headers, url, body), NOW_S)
