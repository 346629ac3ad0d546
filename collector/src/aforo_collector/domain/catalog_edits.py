"""Edits of a catalog's file: one product, customer or plan at a time.

The file stays the only place where a catalog is written down. A noun reads its rows out of the file and puts
them back; whether the whole then makes sense is for `catalog_file.parse` to say. Rows are named as in the file.
What belongs to a customer has the id `customer:name`, with `%` and `:` escaped in either part.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final, NamedTuple

from .catalog import Catalog

Document = dict[str, Any]
Row = dict[str, Any]


class NotThere(LookupError):
    """There is nothing of that id. Nothing was changed."""


class AlreadyThere(ValueError):
    """There is something of that id already. Nothing was changed."""


class InvalidRow(ValueError):
    """A row that cannot be put into the file; `field` names what is wrong. Nothing was changed."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.detail = detail


class Noun(ABC):
    """A kind of thing in the file; rows are found by an id."""

    name: str

    @abstractmethod
    def rows(self, document: Document) -> dict[str, Row]:
        """All rows by id."""

    @abstractmethod
    def add(self, document: Document, row: Row) -> str:
        """Put a new row into the file; returns its id."""

    @abstractmethod
    def remove(self, document: Document, row_id: str) -> None:
        """Take a row out of the file."""


class Changing(Noun):
    """A kind of thing whose rows can be changed in their place."""

    @abstractmethod
    def change(self, document: Document, row_id: str, changes: Row) -> None:
        """Replace the fields that are given; None takes one away."""


class Table(Changing):
    """Rows of one table of the file, as they stand there."""

    def __init__(self, name: str, table: str, key: str) -> None:
        self.name = name
        self._table = table
        self._key = key

    def rows(self, document: Document) -> dict[str, Row]:
        """All rows by their key."""
        return {row[self._key]: row for row in document.get(self._table, ())}

    def add(self, document: Document, row: Row) -> str:
        """Append a row."""
        row_id = _text(row, self._key)
        if row_id in self.rows(document):
            raise AlreadyThere(row_id)
        document.setdefault(self._table, []).append(row)
        return row_id

    def change(self, document: Document, row_id: str, changes: Row) -> None:
        """Replace fields; the key stays."""
        row = _there(self.rows(document), row_id)
        if changes.get(self._key, row_id) != row_id:
            raise InvalidRow(self._key, "cannot be changed; delete it and make another one")
        row.update(changes)
        for field in [field for field, value in changes.items() if value is None]:
            del row[field]

    def remove(self, document: Document, row_id: str) -> None:
        """Take the row out."""
        document[self._table].remove(_there(self.rows(document), row_id))


class Teams(Changing):
    """Teams of customers: `customer_id`, `team_id`, `agents`, `apps`."""

    name = "teams"

    def rows(self, document: Document) -> dict[str, Row]:
        """All teams."""
        return {
            joined(customer["id"], team["id"]): {
                "customer_id": customer["id"],
                "team_id": team["id"],
                "agents": team.get("agents", []),
                "apps": team.get("apps", []),
            }
            for customer in document.get("customers", ())
            for team in customer.get("teams", ())
        }

    def add(self, document: Document, row: Row) -> str:
        """Append a team to its customer."""
        customer, team_id = _customer(document, row), _text(row, "team_id")
        teams = customer.setdefault("teams", [])
        if any(team["id"] == team_id for team in teams):
            raise AlreadyThere(joined(customer["id"], team_id))
        members = _only(row, "customer_id", "team_id", optional=("agents", "apps"))
        teams.append({"id": team_id} | members)
        return joined(customer["id"], team_id)

    def change(self, document: Document, row_id: str, changes: Row) -> None:
        """Replace the agents or the apps."""
        team = _team(document, _there(self.rows(document), row_id))
        team.update(
            {field: value or [] for field, value in _only(changes, optional=("agents", "apps")).items()}
        )

    def remove(self, document: Document, row_id: str) -> None:
        """Take the team out, with its agents and apps."""
        row = _there(self.rows(document), row_id)
        _customer(document, row)["teams"].remove(_team(document, row))


class Members(Changing):
    """Agents or apps of teams: `customer_id`, `team_id` and `agent_id` or `app_id`."""

    def __init__(self, name: str, key: str) -> None:
        self.name = name
        self._key = key

    def rows(self, document: Document) -> dict[str, Row]:
        """All agents or apps."""
        return {
            joined(customer["id"], member): {
                "customer_id": customer["id"],
                "team_id": team["id"],
                self._key: member,
            }
            for customer in document.get("customers", ())
            for team in customer.get("teams", ())
            for member in team.get(self.name, ())
        }

    def add(self, document: Document, row: Row) -> str:
        """Append a member to its team."""
        _only(row, "customer_id", "team_id", self._key)
        row_id = joined(_customer(document, row)["id"], _text(row, self._key))
        if row_id in self.rows(document):
            raise AlreadyThere(row_id)
        _team(document, row).setdefault(self.name, []).append(row[self._key])
        return row_id

    def change(self, document: Document, row_id: str, changes: Row) -> None:
        """Move the member to another team of its customer."""
        row = _there(self.rows(document), row_id)
        _only(changes, "team_id")
        target = _team(document, row | changes)
        self.remove(document, row_id)
        target.setdefault(self.name, []).append(row[self._key])

    def remove(self, document: Document, row_id: str) -> None:
        """Take the member out of its team."""
        row = _there(self.rows(document), row_id)
        _team(document, row)[self.name].remove(row[self._key])


class Subscriptions(Changing):
    """Products of customers: `customer_id`, `product_code`, `from` and `until`; the plan is the product's."""

    name = "subscriptions"

    def rows(self, document: Document) -> dict[str, Row]:
        """All subscriptions, with the type and the plan of the product."""
        products = {product["code"]: product for product in document.get("products", ())}
        return {
            joined(customer["id"], code): {
                "customer_id": customer["id"],
                "product_code": code,
                "product_type": products[code]["type"],
                "rate_plan": products[code]["rate_plan"],
            }
            | _days_of(customer, code)
            for customer in document.get("customers", ())
            for code in customer.get("products", ())
        }

    def add(self, document: Document, row: Row) -> str:
        """Give the product to the customer."""
        days = _only(row, "customer_id", "product_code", optional=_DAYS)
        customer, code = _customer(document, row), _text(row, "product_code")
        row_id = joined(customer["id"], code)
        if code in customer.setdefault("products", []):
            raise AlreadyThere(row_id)
        customer["products"].append(code)
        _set_days(customer, code, days)
        return row_id

    def change(self, document: Document, row_id: str, changes: Row) -> None:
        """Replace the first day, or the day after the last one; None takes the bound away."""
        row = _there(self.rows(document), row_id)
        days = {name: row[name] for name in _DAYS if name in row} | _only(changes, optional=_DAYS)
        _set_days(_customer(document, row), row["product_code"], days)

    def remove(self, document: Document, row_id: str) -> None:
        """Take the product from the customer."""
        row = _there(self.rows(document), row_id)
        customer = _customer(document, row)
        customer["products"].remove(row["product_code"])
        _set_days(customer, row["product_code"], {})


_DAYS: Final = ("from", "until")


def _days_of(customer: Row, code: str) -> Row:
    """The first day of a customer's product and the day after its last one, where they are known."""
    terms = (term for term in customer.get("terms", ()) if term["product"] == code)
    return {name: day for term in terms for name, day in term.items() if name in _DAYS}


def _set_days(customer: Row, code: str, days: Row) -> None:
    known = {name: day for name, day in days.items() if day is not None}
    others = [term for term in customer.get("terms", ()) if term["product"] != code]
    customer["terms"] = [*others, {"product": code, **known}] if known else others


CUSTOMERS: Final = Table("customers", "customers", "id")
SUBSCRIPTIONS: Final = Subscriptions()
NOUNS: Final = (
    Table("products", "products", "code"),
    Table("billable-units", "billable_units", "name"),
    Table("rate-plans", "rate_plans", "code"),
    CUSTOMERS,
    Teams(),
    Members("apps", "app_id"),
    Members("agents", "agent_id"),
    SUBSCRIPTIONS,
)


class Subscription(NamedTuple):
    """A customer's product, and what type it is."""

    customer_id: str
    product_type: str


def subscriptions_of(catalog: Catalog) -> dict[str, Subscription]:
    """All subscriptions of a catalog by id."""
    types = {product.code: product.type for product in catalog.products}
    return {
        joined(customer.id, code): Subscription(customer.id, types[code])
        for customer in catalog.customers
        for code in customer.products
    }


def joined(customer_id: str, name: str) -> str:
    """The id of something that belongs to a customer."""
    return ":".join(part.replace("%", "%25").replace(":", "%3A") for part in (customer_id, name))


def _there(rows: dict[str, Row], row_id: str) -> Row:
    if row_id not in rows:
        raise NotThere(row_id)
    return rows[row_id]


def _text(row: Row, field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value:
        raise InvalidRow(field, "missing, or not text")
    return value


def _only(row: Row, *required: str, optional: tuple[str, ...] = ()) -> Row:
    """The optional fields that are given; every required one has to be there, and nothing else."""
    for field in required:
        _text(row, field)
    if unknown := sorted(row.keys() - {*required, *optional}):
        raise InvalidRow(unknown[0], "unknown, or not to be changed")
    return {field: row[field] for field in optional if field in row}


def _customer(document: Document, row: Row) -> Row:
    customer_id = _text(row, "customer_id")
    found = CUSTOMERS.rows(document).get(customer_id)
    if found is None:
        raise InvalidRow("customer_id", f"there is no customer {customer_id!r}")
    return found


def _team(document: Document, row: Row) -> Row:
    team_id = _text(row, "team_id")
    for team in _customer(document, row).get("teams", ()):
        if team["id"] == team_id:
            found: Row = team
            return found
    raise InvalidRow("team_id", f"the customer has no team {team_id!r}")
