"""Credentials and the hashes of their secrets."""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

from aforo_collector.domain.credential import Credential, Status

_COLUMNS: Final = (
    "key_id, tenant_no, kind, scopes, name, customer_id, team_id, accessor_type, accessor_id, product_type,"
    " status, created_ns, expires_ns, rate_per_minute"
)


class StoredSecret(NamedTuple):
    """A secret by its SHA-256, and until when it opens its credential; `until_ns` 0 is for ever."""

    digest: bytes
    key_id: str
    until_ns: int


class CredentialRows:
    """Writes credentials on the writing connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def put(self, credential: Credential) -> None:
        """Write a credential, new or changed."""
        c = credential
        self._db.execute(
            f"INSERT INTO credentials ({_COLUMNS}, used_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)"
            " ON CONFLICT DO UPDATE SET scopes = excluded.scopes, name = excluded.name,"
            " status = excluded.status, expires_ns = excluded.expires_ns,"
            " rate_per_minute = excluded.rate_per_minute",
            (
                c.key_id, c.tenant_no, c.kind, " ".join(sorted(c.scopes)), c.name, c.customer_id, c.team_id,
                c.accessor_type, c.accessor_id, c.product_type, c.status, c.created_ns, c.expires_ns,
                c.rate_per_minute,
            ),
        )  # fmt: skip

    def any(self, tenant_no: int) -> bool:
        """Whether a tenant has a credential at all."""
        found = self._db.execute("SELECT 1 FROM credentials WHERE tenant_no = ? LIMIT 1", (tenant_no,))
        return found.fetchone() is not None

    def put_secret(self, secret: StoredSecret) -> None:
        """Write a secret by its hash, or until when one that is there works."""
        self._db.execute("INSERT OR REPLACE INTO secrets VALUES (?, ?, ?)", secret)

    def used(self, times: dict[str, int]) -> None:
        """Write down when credentials were last used, in ns by id."""
        self._db.executemany(
            "UPDATE credentials SET used_ns = ?2 WHERE key_id = ?1 AND used_ns < ?2", list(times.items())
        )

    def delete(self, key_id: str) -> None:
        """Forget a credential and its secrets."""
        self._db.execute("DELETE FROM secrets WHERE key_id = ?", (key_id,))
        self._db.execute("DELETE FROM credentials WHERE key_id = ?", (key_id,))

    def delete_secrets(self, before_ns: int) -> None:
        """Forget the secrets that stopped to work before a moment."""
        self._db.execute("DELETE FROM secrets WHERE until_ns > 0 AND until_ns <= ?", (before_ns,))

    def end_token(self, token_id: str, until_ns: int, now_ns: int) -> None:
        """Write down that a token does not hold any more, until it would be over; forget those that are."""
        self._db.execute("DELETE FROM ended_tokens WHERE until_ns <= ?", (now_ns,))
        self._db.execute("INSERT OR IGNORE INTO ended_tokens VALUES (?, ?)", (token_id, until_ns))


def stored_ended_tokens(connection: sqlite3.Connection) -> dict[str, int]:
    """Until when each token would hold, in ns, of those that were ended before."""
    return dict(connection.execute("SELECT token_id, until_ns FROM ended_tokens").fetchall())


def stored_credentials(connection: sqlite3.Connection) -> list[tuple[Credential, int]]:
    """Every credential with the time of its last use in ns, 0 for never."""
    rows = connection.execute(
        f"SELECT {_COLUMNS}, used_ns, tenant_id FROM credentials JOIN tenants USING (tenant_no)"
        " ORDER BY created_ns, key_id"
    )
    return [(_credential(*row), row[14]) for row in rows]


def stored_secrets(connection: sqlite3.Connection) -> list[StoredSecret]:
    """Every secret."""
    return [StoredSecret(*row) for row in connection.execute("SELECT digest, key_id, until_ns FROM secrets")]


def _credential(
    key_id: str, tenant_no: int, kind: str, scopes: str, name: str, customer_id: str, team_id: str,
    accessor_type: str, accessor_id: str, product_type: str, status: str, created_ns: int, expires_ns: int,
    rate_per_minute: int | None, _used_ns: int, tenant_id: str,
) -> Credential:  # fmt: skip
    return Credential(
        key_id, tenant_no, tenant_id, kind, frozenset(scopes.split()), name, customer_id, team_id, accessor_type,
        accessor_id, product_type, Status(status), created_ns, expires_ns, rate_per_minute,
    )  # fmt: skip
