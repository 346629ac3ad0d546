"""What a tool says about itself while it runs: what it cost us, which tokens it used."""

from decimal import Decimal

from aforo_sdk import plugin

from aforo_mcp.calls import Reported, amount_of
from aforo_mcp.metering import current_call
from aforo_mcp.spans import NAME_LENGTH_MAX


def report_cost(amount: str | int | float | Decimal) -> None:
    """Add `amount`, in USD, to what the running call of a tool costs us.

    Reports add up; they take the place of the `cost=` of `@metered_tool`, and a `total_provider_cost` in
    the result takes theirs. May be called from any task or thread that the tool has started. Outside of a
    metered call, or with what is no amount, nothing is recorded, and one warning says so. Never raises.
    """
    plain = amount_of(amount)
    if not plain:
        plugin.warn_once(
            "mcp.report_cost",
            f'aforo: report_cost({plugin.shown(amount)}): not an amount of USD such as "0.01". It is not recorded.',
        )
        return
    _report(Reported(plain), "report_cost")


def report_usage(usage: object, model: str = "") -> None:
    """Add the tokens of a model call to what the running call of a tool has used.

    `usage` is a provider's own usage object or a dict of its counts, such as `{"input_tokens": 320,
    "output_tokens": 84}`. Tokens that an instrumentation already reports on a span inside the tool stay
    billed once: these are then a claim to check them against. Otherwise as `report_cost`.
    """
    try:
        tokens = plugin.answer_of_usage(usage).tokens
    except Exception:
        tokens = {}
    if not tokens:
        plugin.warn_once(
            "mcp.report_usage", "aforo: report_usage(): no tokens in what was given. It is not recorded."
        )
        return
    call = current_call()
    if call is not None and model:
        call.tally().model = str(model)[:NAME_LENGTH_MAX]
    _report(Reported("", tokens), "report_usage")


def _report(part: Reported, name: str) -> None:
    call = current_call()
    if call is None:
        plugin.count("mcp_reports_outside_calls")
        plugin.warn_once(
            f"mcp.{name}.outside",
            f"aforo: {name}() outside of a metered call of a tool, or after its end: it is not recorded.",
        )
        return
    call.add(part)
