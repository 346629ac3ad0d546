"""What a source wants of its deliveries: which events, and what each becomes; read from the wire and checked.

mappings = {"customerId": "$.account.id",                      a path
            "metricName": "emails",                            a constant
            "quantity": {"path": "$.amount", "multiplier": "0.01", "default": 0},
            "occurredAt": {"path": ["$.sent_at", "$.created"]},  the first that finds something
            "metadata": {"region": "$.region"}}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

from .custom import BadOption, check_options
from .paths import InvalidPath, check_path
from .provider import Provider
from .registry import PROVIDERS, provider_of
from .rules import CUSTOMER, METRIC, ONE, QUANTITY, TIME, FieldRules, Rule

FIELDS: Final = (
    CUSTOMER, METRIC, QUANTITY, TIME, "productType", "teamId", "appId", "agentId", "sessionId", "toolName", "traceId",
    "executionStatus",
)  # fmt: skip
METADATA_MAX: Final = 50
CUSTOMERS_MAX: Final = 10_000
FILTER_MAX: Final = 200
_TEXT_LENGTH_MAX: Final = 1_000
_PATHS_MAX: Final = 10
_RULE: Final = {"path", "constant", "default", "multiplier"}


class InvalidTerms(ValueError):
    """Terms that a source cannot have: (wire name, sentence) of each that is wrong. Nothing was changed."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{name}: {detail}" for name, detail in problems))
        self.problems = problems


class Terms(NamedTuple):
    """The checked terms of a source; `metric` "" leaves the name to the rules or the provider's template."""

    provider: Provider
    metric: str
    event_filter: tuple[str, ...]
    rules: FieldRules
    customers: Mapping[str, str]

    def wants(self, kind: str) -> bool:
        """Whether events of this type are billed: those of the filter, else those that have a template."""
        if self.event_filter:
            return any(
                kind == wanted or (wanted.endswith("*") and kind.startswith(wanted[:-1]))
                for wanted in self.event_filter
            )
        return kind in self.provider.templates or "*" in self.provider.templates

    def rules_for(self, kind: str) -> FieldRules:
        """The rules for events of a type: the source's own over the provider's."""
        provider = self.provider
        defaults = provider.templates.get(kind) or provider.templates.get("*") or provider.fallback
        rules = self.rules.over(defaults)
        if self.metric:
            own = self.rules.fields.get(METRIC, Rule())
            rules = FieldRules({**rules.fields, METRIC: own._replace(constant=self.metric)}, rules.metadata)
        return rules


def terms_of(
    provider: str, options: Any, metric: Any, event_filter: Any, mappings: Any, customers: Any
) -> Terms:
    """The terms of a source from wire values, each None where nothing is said; raises `InvalidTerms`."""
    problems: list[tuple[str, str]] = []
    if provider not in PROVIDERS:
        problems.append(("provider", f"{str(provider)[:40]!r} is none of {', '.join(PROVIDERS)}"))
    problems += _in_options(provider, options)
    if metric is not None and not _is_text(metric, 255):
        problems.append(("metricName", "is no text of 1 to 255 characters"))
    if not _is_list_of_texts(event_filter, FILTER_MAX):
        problems.append(("eventFilter", f"is no list of up to {FILTER_MAX} types"))
    if not _is_map_of_texts(customers, CUSTOMERS_MAX):
        problems.append(("customerMap", f"is no table of up to {CUSTOMERS_MAX} ids and customers"))
    rules = FieldRules({})
    try:
        rules = _rules(mappings)
    except InvalidTerms as error:
        problems += error.problems
    if problems:
        raise InvalidTerms(problems)
    known = provider_of(provider, options or {})
    return Terms(known, metric or "", tuple(event_filter or ()), rules, customers or {})


def _in_options(provider: str, options: Any) -> Iterator[tuple[str, str]]:
    if not _is_map_of_texts(options, 10):
        yield "options", "is no table of texts"
    elif options and provider != "custom":
        yield "options", f"a source of {provider} has none; they are for custom"
    else:
        try:
            check_options(options or {})
        except BadOption as error:
            yield f"options.{error.name[:40]}", str(error)


def _rules(mappings: Any) -> FieldRules:
    if mappings is None:
        return FieldRules({})
    if not isinstance(mappings, dict):
        raise InvalidTerms([("mappings", "is no table")])
    problems: list[tuple[str, str]] = []
    fields: dict[str, Rule] = {}
    metadata: dict[str, Rule] = {}
    named = mappings.get("metadata") or {}
    if not isinstance(named, dict) or len(named) > METADATA_MAX:
        problems.append(("mappings.metadata", f"is no table of up to {METADATA_MAX} fields"))
        named = {}
    told = [(name, value, fields) for name, value in mappings.items() if name != "metadata"]
    for name, value, rules in told + [(name, value, metadata) for name, value in named.items()]:
        where = f"mappings.{'' if rules is fields else 'metadata.'}{name[:60]}"
        if rules is fields and name not in FIELDS:
            problems.append((where, f"is none of {', '.join(FIELDS)}, metadata"))
            continue
        try:
            rules[name] = _rule(value, name == QUANTITY and rules is fields)
        except ValueError as error:
            problems.append((where, str(error)))
    if problems:
        raise InvalidTerms(problems)
    return FieldRules(fields, metadata)


def _rule(value: Any, is_quantity: bool) -> Rule:
    if not isinstance(value, dict):
        value = {"path" if isinstance(value, str) and value.startswith("$") else "constant": value}
    if not value or not value.keys() <= _RULE or {"constant", "path"} <= value.keys():
        raise ValueError("is a path or a constant; a table has path and default, or constant, and multiplier")
    paths = value.get("path", [])
    paths = [paths] if isinstance(paths, str) else paths
    if not isinstance(paths, list) or len(paths) > _PATHS_MAX or not all(isinstance(p, str) for p in paths):
        raise ValueError(f"a path is text, or a list of up to {_PATHS_MAX}")
    try:
        for path in paths:
            check_path(path)
    except InvalidPath as error:
        raise ValueError(str(error)) from None
    constant = value.get("constant", value.get("default"))
    if not paths and constant is None:
        raise ValueError("has neither a path nor a constant")
    if not _is_scalar(constant):
        raise ValueError("a constant is text, a number or a truth value")
    if "multiplier" in value and not is_quantity:
        raise ValueError("only a quantity has a multiplier")
    return Rule(tuple(paths), constant, _multiplier(value.get("multiplier", ONE)))


def _is_scalar(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _TEXT_LENGTH_MAX
    return value is None or isinstance(value, bool | int | Decimal)


def _multiplier(value: Any) -> Decimal:
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
            raise InvalidOperation
        number = Decimal(value)
        if not number.is_finite() or number <= 0 or not -12 <= number.adjusted() <= 12:
            raise InvalidOperation
    except InvalidOperation:
        raise ValueError(f"multiplier: {str(value)[:40]!r} is no number between 1e-12 and 1e12") from None
    return number


def _is_text(value: Any, length_max: int) -> bool:
    if not isinstance(value, str) or not value.strip() or len(value) > length_max:
        return False
    return value == value.encode("utf-8", "replace").decode()


def _is_list_of_texts(value: Any, length_max: int) -> bool:
    if value is None:
        return True
    return isinstance(value, list) and len(value) <= length_max and all(_is_text(item, 255) for item in value)


def _is_map_of_texts(value: Any, length_max: int) -> bool:
    if value is None:
        return True
    return (
        isinstance(value, dict)
        and len(value) <= length_max
        and all(_is_text(name, 255) and _is_text(item, 255) for name, item in value.items())
    )
