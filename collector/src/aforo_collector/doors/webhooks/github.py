"""GitHub: `X-Hub-Signature-256: sha256=…`, HMAC-SHA256 over the body; the delivery's GUID is its id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .payloads import object_in, rendered, text_at
from .provider import Incoming, Provider, ProviderEvent, Sample
from .rules import FieldRules, template
from .signing import check_text_secret, mac_hex, mint_text, require_header, require_match

HEADER: Final = "X-Hub-Signature-256"


def verify(secrets: Sequence[str], incoming: Incoming, now_s: int) -> None:  # noqa: ARG001  # the scheme has no time
    """Raise `BadSignature` unless the body is signed with one of the secrets."""
    expected = [f"sha256={mac_hex(secret.encode(), incoming.body)}" for secret in secrets]
    require_match([require_header(incoming, HEADER)], expected)


def sign(secret: str, incoming: Incoming, now_s: int) -> dict[str, str]:  # noqa: ARG001  # as above
    """The header that GitHub would send."""
    return {HEADER: f"sha256={mac_hex(secret.encode(), incoming.body)}"}


def split(incoming: Incoming) -> list[ProviderEvent]:
    """The event of a delivery; its type is that of the header, with the action if there is one."""
    payload = object_in(incoming)
    kind, action = incoming.headers.get("x-github-event", ""), text_at(payload, "action")
    delivery = incoming.headers.get("x-github-delivery", "").strip()
    return [ProviderEvent(delivery, f"{kind}.{action}" if action else kind, payload)]


def _template(metric: str, time: str | None = None) -> FieldRules:
    customer = (
        "$.organization.login", "$.repository.owner.login", "$.installation.account.login", "$.sender.login",
    )  # fmt: skip
    metadata = {"repository": "$.repository.full_name", "sender": "$.sender.login"}
    return template(metric, customer=customer, time=time, metadata=metadata)


def sample(event_id: str, now_s: int) -> Sample:
    """A push."""
    headers = {"Content-Type": "application/json", "X-GitHub-Event": "push", "X-GitHub-Delivery": event_id}
    repository = {"full_name": "sample/repository", "owner": {"login": "sample"}, "pushed_at": now_s}
    return Sample(headers, rendered({"ref": "refs/heads/main", "repository": repository}))


PROVIDER = Provider(
    name="github",
    verify=verify,
    split=split,
    sign=sign,
    sample=sample,
    templates={
        "push": _template("github.pushes"),
        "workflow_run.completed": _template("github.workflow_runs", "$.workflow_run.updated_at"),
        "workflow_job.completed": _template("github.workflow_jobs", "$.workflow_job.completed_at"),
        "pull_request.opened": _template("github.pull_requests", "$.pull_request.created_at"),
    },
    fallback=_template("github.events"),
    check_secret=check_text_secret,
    mint=mint_text,
)
