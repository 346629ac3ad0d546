"""What a call of a tool is reported to have used up, while it runs and by its result. Pure."""

from collections.abc import Mapping
from decimal import Decimal

from aforo_sdk import conventions as c
from aforo_sdk.plugin import COUNT_MAX, text

from aforo_mcp.calls import NOTHING, Reported, amount_of


class Tally:
    """The reports of one call: `costs` (USD), `tokens` (by attribute name) and `model` come along the way, from
    any thread. `fixed_costs` are due anyway; they and `result`, what a result itself reports, are a round's.
    """

    __slots__ = ("costs", "fixed_costs", "model", "result", "tokens")

    def __init__(self) -> None:
        self.costs: list[Decimal] = []
        self.tokens: list[Mapping[str, int]] = []
        self.model = ""
        self.go_on()

    def go_on(self) -> None:
        """Begin a round of the call."""
        self.fixed_costs: list[Decimal] = []
        self.result = NOTHING

    def add(self, part: Reported) -> None:
        """Take what a part of the call reports."""
        if part.cost:
            self.costs.append(Decimal(part.cost))
        if part.tokens:
            self.tokens.append(part.tokens)

    def take(self, stated: Reported) -> None:
        """Take what a result reports; a later one, further outside, knows better."""
        self.result = Reported(stated.cost or self.result.cost, stated.tokens or self.result.tokens)

    def total(self) -> Reported:
        """What the result says, else the sum of what was reported along the way, else the fixed cost."""
        given = self.costs or self.fixed_costs
        cost = self.result.cost or (amount_of(sum(given)) if given else "")
        tokens = dict(self.result.tokens)
        for counted in self.tokens if not tokens else ():
            for key, count in counted.items():
                tokens[key] = min(tokens.get(key, 0) + count, COUNT_MAX)
        return Reported(cost, tokens)

    @property
    def attributes(self) -> bytes:
        """The same as encoded span attributes."""
        model = text(c.RESPONSE_MODEL, self.model) if self.model else b""
        return self.total().attributes + model
