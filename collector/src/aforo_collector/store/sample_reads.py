"""The values of usage events as readers see them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from .texts import Texts


class Sampled(NamedTuple):
    """Events of a payer that agree in their outcome and in the value of their price's dimension.

    `values` is {value: number of events}.
    """

    payer_no: int
    label: str
    status: str
    values: dict[str, int]


class SampleReads:
    """Reads the values of one metric of one customer: a range of the table, whatever else there is."""

    def __init__(self, connection: sqlite3.Connection, texts: Texts) -> None:
        self._db = connection
        self._texts = texts

    def over(self, customer_no: int, metric: str, start_ns: int, end_ns: int) -> Iterator[Sampled]:
        """The values of the events that occurred in [start, end)."""
        rows = self._db.execute(
            "SELECT payer_no, label_no, status_no, value, count(*) FROM samples"
            " WHERE customer_no = ? AND metric_no = ? AND occurred_ns >= ? AND occurred_ns < ?"
            " GROUP BY payer_no, label_no, status_no, value ORDER BY payer_no, label_no, status_no",
            (customer_no, self._texts.number(metric), start_ns, end_ns),
        )
        for (payer_no, label_no, status_no), some in groupby(rows, itemgetter(0, 1, 2)):
            values = {value: event_count for _, _, _, value, event_count in some}
            yield Sampled(payer_no, self._texts(label_no), self._texts(status_no), values)
