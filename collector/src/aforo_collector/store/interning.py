"""Small tables that give long texts short numbers, with bounded memory of them."""

from __future__ import annotations

import sqlite3
from typing import Generic, TypeVar

from aforo_collector.domain.identity import Identity

K = TypeVar("K")
V = TypeVar("V")


class Bounded(dict[K, V], Generic[K, V]):
    """A dictionary that forgets its oldest half when it is full; only for what the store knows too."""

    def __init__(self, size_max: int) -> None:
        super().__init__()
        self.size_max = size_max

    def put(self, key: K, value: V) -> None:
        """Remember; forget older entries when there are too many."""
        if len(self) >= self.size_max:
            for old in list(self)[: self.size_max // 2]:
                del self[old]
        self[key] = value


class Interning:
    """Numbers for names, customers and payers. Names are global, customers belong to a tenant."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._names: Bounded[str, int] = Bounded(50_000)
        self._texts: Bounded[int, str] = Bounded(50_000)
        self._customers: Bounded[tuple[int, str], int] = Bounded(20_000)
        self._payers: Bounded[tuple[int, Identity], tuple[int, int]] = Bounded(20_000)

    def forget(self) -> None:
        """Drop what is remembered: after a rollback it may name rows that do not exist."""
        for memory in (self._names, self._texts, self._customers, self._payers):
            memory.clear()

    def name(self, text: str) -> int:
        """The number of a name; 0 is the empty one."""
        if not text:
            return 0
        number = self._names.get(text)
        if number is None:
            row = self._db.execute(
                "INSERT INTO names (name) VALUES (?) ON CONFLICT DO UPDATE SET name = name RETURNING name_no",
                (text,),
            ).fetchone()
            number = int(row[0])
            self._names.put(text, number)
        return number

    def text(self, number: int) -> str:
        """The name of a number."""
        if not number:
            return ""
        text = self._texts.get(number)
        if text is None:
            text = str(self._db.execute("SELECT name FROM names WHERE name_no = ?", (number,)).fetchone()[0])
            self._texts.put(number, text)
        return text

    def customer(self, tenant_no: int, customer_id: str) -> int:
        """The number of a tenant's customer; 0 is nobody."""
        if not customer_id:
            return 0
        number = self._customers.get((tenant_no, customer_id))
        if number is None:
            row = self._db.execute(
                "INSERT INTO customers (tenant_no, customer_id) VALUES (?, ?)"
                " ON CONFLICT DO UPDATE SET customer_id = customer_id RETURNING customer_no",
                (tenant_no, customer_id),
            ).fetchone()
            number = int(row[0])
            self._customers.put((tenant_no, customer_id), number)
        return number

    def payer(self, tenant_no: int, payer: Identity) -> tuple[int, int]:
        """(payer number, customer number) of an identity whose session is left empty."""
        found = self._payers.get((tenant_no, payer))
        if found is None:
            customer_no = self.customer(tenant_no, payer.customer_id)
            row = self._db.execute(
                "INSERT INTO payers (tenant_no, customer_no, team_id, agent_id, app_id, product_type)"
                " VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET team_id = team_id RETURNING payer_no",
                (tenant_no, customer_no, payer.team_id, payer.agent_id, payer.app_id, payer.product_type),
            ).fetchone()
            found = (int(row[0]), customer_no)
            self._payers.put((tenant_no, payer), found)
        return found

    def payer_identity(self, payer_no: int) -> tuple[int, Identity]:
        """(tenant number, identity without session) of a payer number."""
        row = self._db.execute(
            "SELECT p.tenant_no, c.customer_id, team_id, agent_id, app_id, product_type FROM payers p"
            " LEFT JOIN customers c USING (customer_no) WHERE payer_no = ?",
            (payer_no,),
        ).fetchone()
        return int(row[0]), Identity(row[1] or "", row[2], row[3], row[4], row[5])
