"""The figures of a collector as Prometheus metric families."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from aforo_collector.store.figures import OUTCOMES

from .desk import Desk


class _Families(Collector):
    """Reads the books when it is asked; keeps nothing."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def collect(self) -> Iterator[Metric]:
        """The metric families."""
        figures = self._desk.figures()
        for position, outcome in enumerate(OUTCOMES):
            family = CounterMetricFamily(
                f"aforo_{outcome}", f"Items {outcome}, since the store was made.", labels=["door"]
            )
            for door, counts in figures.intake.items():
                family.add_metric([door], counts[position])
            yield family
        writer, bodies = self._desk.writer, self._desk.bodies
        yield CounterMetricFamily("aforo_commits", "Transactions since the process started.", writer.commits)
        yield GaugeMetricFamily("aforo_queue_length", "Requests that wait to be written.", writer.waiting)
        yield GaugeMetricFamily("aforo_bodies_bytes", "Bytes of requests in memory.", bodies.size_bytes)
        yield CounterMetricFamily("aforo_sessions_opened", "Sessions ever opened.", figures.sessions_opened)
        yield GaugeMetricFamily(
            "aforo_sessions_running", "Sessions whose time is not over yet.", figures.sessions_running
        )


def exposition(desk: Desk) -> bytes:
    """All figures in Prometheus text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(desk))
    ProcessCollector(registry=registry)
    return generate_latest(registry)
