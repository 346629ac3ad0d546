"""The credentials of all tenants, in memory to be asked and in the store to last.

A change is committed first, then in force, then answered: whoever has been told that a key is revoked can rely
on it, also over a restart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from secrets import token_urlsafe
from threading import Lock
from typing import Final, TypeVar

from aforo_collector.domain.credential import BEARER, Credential, Status, secret_prefix
from aforo_collector.store.credential_rows import StoredSecret
from aforo_collector.store.sqlite_writer import SqliteWriter

from .catalogs import Catalogs
from .writer import QueueFull, Writer

OVERLAP_NS: Final = 5 * 60 * 1_000_000_000
"""How long the secret before the last one works."""
USES_KEPT_EVERY_NS: Final = 60 * 1_000_000_000
_SECRET_BYTES: Final = 32
_R = TypeVar("_R")


class Denied(Exception):
    """A secret or a token that opens nothing; `code` says why. Nothing was read or recorded."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Ended(Exception):
    """A credential that is revoked: nothing can be changed about it any more."""


def digest_of(secret: str) -> bytes:
    """What is kept of a secret: its SHA-256.

    That is enough without salt or stretching, because the secrets are 256 random bits and cannot be guessed;
    and looking a digest up in a table tells nothing by the time it takes, because nobody can choose a secret
    by the first bytes of its digest.
    """
    return sha256(secret.encode()).digest()


def new_secret(prefix: str) -> str:
    """A random secret that begins so."""
    return prefix + token_urlsafe(_SECRET_BYTES)


class Keyring:
    """Finds credentials by their secrets, makes them and ends them; for any thread."""

    def __init__(
        self,
        store: SqliteWriter,
        writer: Writer,
        catalogs: Catalogs,
        credentials: Iterable[tuple[Credential, int]],
        secrets: Iterable[StoredSecret],
        ended_tokens: dict[str, int],
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._store = store
        self._writer = writer
        self._catalogs = catalogs
        self._credentials: dict[str, Credential] = {}
        self._used: dict[str, int] = {}
        for credential, used_ns in credentials:
            self._credentials[credential.key_id] = credential
            self._used[credential.key_id] = used_ns
        self._secrets = {secret.digest: secret for secret in secrets}
        self._ended_tokens = ended_tokens
        self._clock_ns = clock_ns
        self._changing = Lock()
        self._uses: dict[str, int] = {}
        self._uses_kept_ns = clock_ns()

    def of_key(self, secret: str) -> Credential:
        """The credential that an API key opens; raises `Denied`."""
        credential = self.of_secret(secret)
        if credential.kind != BEARER:
            raise Denied(
                "INVALID_CREDENTIAL",
                "this is the secret of a client; exchange it for a token at /oauth/token",
            )
        return credential

    def of_secret(self, secret: str) -> Credential:
        """The credential that a secret belongs to, if it may be used; raises `Denied`."""
        found = self._secrets.get(digest_of(secret))
        # Its key may be deleted meanwhile.
        credential = None if found is None else self._credentials.get(found.key_id)
        if found is None or credential is None or 0 < found.until_ns <= self._clock_ns():
            raise Denied("INVALID_CREDENTIAL", "the API key is not known here; nothing was read or recorded")
        return self.usable(credential)

    def of_id(self, key_id: str) -> Credential | None:
        """The credential of an id, whatever its status."""
        return self._credentials.get(key_id)

    def usable(self, credential: Credential) -> Credential:
        """The credential itself; raises `Denied` when it is not to be used now."""
        now_ns = self._clock_ns()
        if credential.status == Status.SUSPENDED:
            raise Denied("CREDENTIAL_SUSPENDED", "the API key is suspended; nothing was read or recorded")
        if credential.status == Status.ACTIVE and credential.is_over(now_ns):
            raise Denied("EXPIRED_CREDENTIAL", "the API key has expired; nothing was read or recorded")
        if credential.status_at(now_ns) == Status.REVOKED:
            raise Denied("CREDENTIAL_REVOKED", "the API key is revoked; nothing was read or recorded")
        self._note_use(credential.key_id, now_ns)
        return credential

    def of_owner(self, owner_id: str) -> list[Credential]:
        """All credentials of a tenant and its test environment, in the order of their making."""
        return [c for c in list(self._credentials.values()) if c.owner_id == owner_id]

    def used_ns(self, key_id: str) -> int:
        """When a credential was last used; 0 is never."""
        return self._used.get(key_id, 0)

    def add(self, draft: Credential, also: Callable[[Credential, int], None]) -> tuple[Credential, str]:
        """Make a credential of a draft; returns it with its secret, which is never to be had again.

        The number of its tenant and the time are filled in; `also` runs in the same transaction.
        """
        secret = new_secret(secret_prefix(draft))
        begun: list[int] = []

        def write(now_ns: int) -> Credential:
            owner_no, tenant_no = self._store.tenant(draft.owner_id), self._store.tenant(draft.tenant_id)
            if self._catalogs.begin(tenant_no, owner_no, now_ns):
                begun.append(tenant_no)
            made = replace(draft, tenant_no=tenant_no, created_ns=now_ns)
            self._store.credentials.put(made)
            self._store.credentials.put_secret(StoredSecret(digest_of(secret), made.key_id, 0))
            also(made, now_ns)
            return made

        def undo() -> None:
            for tenant_no in begun:
                self._catalogs.forget(tenant_no)

        with self._changing:
            made: Credential = self._writer.command(write, undo).result()
            self._credentials[made.key_id] = made
            self._secrets[digest_of(secret)] = StoredSecret(digest_of(secret), made.key_id, 0)
        return made, secret

    def change(self, key_id: str, change: Callable[[Credential], Credential]) -> Credential:
        """Change a credential; raises `Ended` for one that is revoked, `LookupError` for none."""
        with self._changing:
            changed = change(self._open(key_id))
            self._writer.command(lambda _: self._store.credentials.put(changed)).result()
            self._credentials[key_id] = changed
        return changed

    def rotate(self, key_id: str) -> tuple[Credential, str]:
        """Give a credential a new secret; the one before works for `OVERLAP_NS` more. Raises as `change`."""
        with self._changing:
            credential = self._open(key_id)
            secret = new_secret(secret_prefix(credential))
            now_ns = self._clock_ns()
            until_ns = now_ns + OVERLAP_NS
            changed = [
                old._replace(until_ns=until_ns)
                for old in self._secrets.values()
                if old.key_id == key_id and not old.until_ns
            ]
            changed.append(StoredSecret(digest_of(secret), key_id, 0))

            def write(_: int) -> None:
                self._store.credentials.delete_secrets(now_ns)
                for each in changed:
                    self._store.credentials.put_secret(each)

            self._writer.command(write).result()
            gone = [old.digest for old in self._secrets.values() if 0 < old.until_ns <= now_ns]
            for digest in gone:
                del self._secrets[digest]
            self._secrets.update((each.digest, each) for each in changed)
        return credential, secret

    def delete(self, key_id: str) -> None:
        """Forget a credential, and with it every token that was issued for it."""
        with self._changing:
            self._writer.command(lambda _: self._store.credentials.delete(key_id)).result()
            self._secrets = {d: secret for d, secret in self._secrets.items() if secret.key_id != key_id}
            self._credentials.pop(key_id, None)

    def ending(self, chosen: Callable[[Credential], bool], run: Callable[[Callable[[], None]], _R]) -> _R:
        """Revoke the chosen credentials in the transaction of `run`, which is given what writes it there."""
        with self._changing:
            now_ns = self._clock_ns()
            ended = [
                replace(credential, status=Status.REVOKED, expires_ns=now_ns)
                for credential in self._credentials.values()
                if chosen(credential) and credential.status_at(now_ns) != Status.REVOKED
            ]

            def write() -> None:
                for credential in ended:
                    self._store.credentials.put(credential)

            result = run(write)
            self._credentials.update((credential.key_id, credential) for credential in ended)
        return result

    def end_token(self, token_id: str, until_ns: int) -> None:
        """Let a token open nothing any more; `until_ns` is when it would be over."""
        now_ns = self._clock_ns()
        with self._changing:
            self._writer.command(
                lambda _: self._store.credentials.end_token(token_id, until_ns, now_ns)
            ).result()
            known = {name: until for name, until in self._ended_tokens.items() if until > now_ns}
            self._ended_tokens = known | {token_id: until_ns}

    def has_ended(self, token_id: str) -> bool:
        """Whether a token was ended before its time."""
        return token_id in self._ended_tokens

    def close(self) -> None:
        """Write down the last uses; before the writer stops."""
        self._writer.command(self._keep_uses(self._clock_ns())).result()

    def _open(self, key_id: str) -> Credential:
        credential = self._credentials[key_id]
        if credential.status_at(self._clock_ns()) == Status.REVOKED:
            raise Ended(f"key {key_id!r} is revoked for good; nothing was changed, make another key")
        return credential

    def _note_use(self, key_id: str, now_ns: int) -> None:
        """Remember a use; written down once a minute, because a write for every read would cost too much."""
        self._used[key_id] = self._uses[key_id] = now_ns
        if now_ns - self._uses_kept_ns >= USES_KEPT_EVERY_NS:
            with suppress(QueueFull):
                self._writer.command(self._keep_uses(now_ns))

    def _keep_uses(self, now_ns: int) -> Callable[[int], None]:
        uses, self._uses, self._uses_kept_ns = self._uses, {}, now_ns
        return lambda _: self._store.credentials.used(uses)
