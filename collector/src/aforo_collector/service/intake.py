"""Intake of spans: one transaction for everything that waited, from links to usage events.

    link → settle → tell copies → account (standing → meter → enrich → estimate → record → index) → close

Each delivery's spans are linked into their trees; when all deliveries of the transaction are in, contexts
are handed down and every span that is new or has changed is accounted for: what it should count for is
compared with what was recorded of it, and the difference is written as new events, never as changes.
"""

from __future__ import annotations

from typing import NamedTuple

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.identity import NOBODY, Identity
from aforo_collector.domain.metering import CostOf
from aforo_collector.domain.session import Policy
from aforo_collector.domain.span import Role, Span
from aforo_collector.domain.trace import ARRIVED, Node, Tree, link, settle
from aforo_collector.domain.usage import Kind
from aforo_collector.doors.otlp import Rejection
from aforo_collector.pipeline.admit import Refused, digest, recorded_event
from aforo_collector.store.sqlite_writer import SqliteWriter

from .accounts import DOOR, Accounts
from .amendments import Amendments
from .archive import Archive
from .bookings import Bookings
from .contracts import Contracts
from .echoes import Echoes
from .event_texts import fields_text
from .finals import Finals
from .submissions import Submissions
from .twins import Twins

_USAGE = int(Role.USAGE)


class Delivery(NamedTuple):
    """The spans of one request, in the order of the wire, with the body they were read from.

    `caller` is what the credential said of who pays when they were read.
    """

    tenant_no: int
    content_type: str
    body: bytes
    spans: list[Span | Rejection]
    caller: Identity = NOBODY


class Receipt(NamedTuple):
    """What became of a delivery: received = recorded + duplicates + conflicts + rejected."""

    received: int
    recorded: int
    duplicates: int
    conflicts: int
    rejections: list[Rejection]


class Intake:
    """Takes deliveries inside a transaction that the writer opens and commits."""

    def __init__(self, store: SqliteWriter, cost_of: CostOf, policy: Policy) -> None:
        self._store = store
        self._archive = Archive(store.traces)
        self.contracts = Contracts(cost_of)
        self.finals = Finals(store, self.contracts, policy)
        self.bookings = Bookings(store, self.contracts, self.finals, policy)
        self.submissions = Submissions(store, self.contracts, self.finals, self.bookings)
        self._twins = Twins(store.traces, self._archive)
        self.amendments = Amendments(store, self._archive, self.contracts, self.finals, self.bookings, policy)
        self._accounts = Accounts(store, self._archive, self.contracts, self.finals, self._twins, policy)
        self._echoes = Echoes(store, self._tree_of)
        self._trees: dict[tuple[bytes, int], Tree] = {}
        self._closing: list[tuple[int, Node]] = []

    def forget(self) -> None:
        """Drop the work of a transaction that was rolled back."""
        self._trees.clear()
        self._closing.clear()
        self._twins.forget()
        self._echoes.forget()
        self._archive.forget()
        self.bookings.forget()
        self.submissions.forget()
        self.contracts.forget()

    def take(self, delivery: Delivery, now_ns: int) -> Receipt:
        """Link the spans of a delivery; their events follow in `finish`."""
        tenant_no = delivery.tenant_no
        catalog = self.contracts.catalog(tenant_no)
        batch_no = self._store.traces.next_batch_no()
        recorded = duplicates = conflicts = 0
        rejections: list[Rejection] = []
        trees = self._trees_of(delivery)
        for position, span in enumerate(delivery.spans):
            if isinstance(span, Rejection):
                rejections.append(span)
                self._aside(tenant_no, span, None, batch_no, position, now_ns)
                continue
            tree = trees[span.trace_id]
            if span.role >= _USAGE:
                verdict = self._by_hand(tree, span, tenant_no, catalog, batch_no, position)
            else:
                verdict = "" if link(tree, span, batch_no, position) else self._again(tree, span)
            if not verdict:
                recorded += 1
            elif verdict == "duplicate":
                duplicates += 1
            elif verdict == "conflict":
                conflicts += 1
                self._conflict(tenant_no, span, batch_no, position, now_ns)
            else:
                refusal = Rejection(*verdict.split(": ", 1))
                rejections.append(refusal)
                self._aside(tenant_no, refusal, span, batch_no, position, now_ns)
        if recorded + len(rejections) + conflicts:
            self._archive.keep(
                batch_no, tenant_no, delivery.content_type, len(delivery.spans), delivery.body,
                delivery.caller, now_ns,
            )  # fmt: skip
        counts = (len(delivery.spans), recorded, duplicates, conflicts, len(rejections))
        self._store.count(tenant_no, DOOR, counts)
        return Receipt(*counts[:4], rejections)

    def _trees_of(self, delivery: Delivery) -> dict[bytes, Tree]:
        """The trees that spans of a delivery belong to, by trace id."""
        tenant_no = delivery.tenant_no
        found: dict[bytes, Tree] = {}
        missing: list[bytes] = []
        for trace_id in {span.trace_id: None for span in delivery.spans if not isinstance(span, Rejection)}:
            tree = self._trees.get((trace_id, tenant_no))
            if tree is None:
                missing.append(trace_id)
            else:
                found[trace_id] = tree
        traces = self._store.traces
        for trace_id, (trace_no, known) in traces.numbers(missing, tenant_no).items():
            tree = Tree(trace_id, trace_no, traces.load if known else None, self._archive.span_of)
            self._trees[trace_id, tenant_no] = found[trace_id] = tree
        return found

    def _tree_of(self, tenant_no: int, trace_id: bytes) -> Tree:
        """The tree of a stored trace, brought into this transaction if it is not part of it."""
        tree = self._trees.get((trace_id, tenant_no))
        if tree is None:
            trace_no, _ = self._store.traces.trace(trace_id, tenant_no)
            tree = Tree(trace_id, trace_no, self._store.traces.load, self._archive.span_of)
            self._trees[trace_id, tenant_no] = tree
        return tree

    def _by_hand(
        self, tree: Tree, span: Span, tenant_no: int, catalog: Catalog, batch_no: int, position: int
    ) -> str:
        """Link what a program said itself; "" or why it does not count."""
        if (known := tree.find(span.span_id)) is not None and known.flags & ARRIVED:
            return self._again(tree, span)
        if span.role == Role.USAGE:
            try:
                event = recorded_event(span, catalog)
                said = digest(event, fields_text(event.metadata), "")
            except Refused as refused:
                return f"{refused.code}: {refused}"
            if event.key:
                before = self._store.keys.find(tenant_no, [event.key]).get(event.key)
                if before is not None:
                    return "duplicate" if before[0] == said else "conflict"
                self._store.keys.put(tenant_no, [(event.key, said, 0)])
        node = link(tree, span, batch_no, position)
        if span.role == Role.CLOSE and node is not None:
            self._closing.append((tenant_no, node))
        return ""

    def _again(self, tree: Tree, span: Span) -> str:
        node = tree.find(span.span_id)
        assert node is not None
        return "duplicate" if tree.span(node) == span else "conflict"

    def _conflict(self, tenant_no: int, span: Span, batch_no: int, position: int, now_ns: int) -> None:
        detail = f"span {span.name!r} was recorded before with other contents; the first one stands"
        self._aside(tenant_no, Rejection("CONFLICT", detail), span, batch_no, position, now_ns)

    def _aside(
        self, tenant_no: int, why: Rejection, span: Span | None, batch_no: int, position: int, now_ns: int
    ) -> None:
        trace_id, span_id = (span.trace_id, span.span_id) if span is not None else (None, 0)
        self._store.quarantine(
            tenant_no, DOOR, why.code, why.detail, trace_id, span_id, batch_no, position, now_ns
        )

    def _close(self, tenant_no: int, node: Node, now_ns: int) -> None:
        """Close the session that a program says is over: that of the customer it names, else the only one so called."""
        strand, _ = self._store.traces.stored_strand(node.strand_no)
        if strand.session_no:
            self.finals.close(strand.session_no, now_ns)
        elif node.identity.session_id and not node.identity.customer_id:
            found = self._store.sessions.by_id(tenant_no, node.identity.session_id, None)
            if len(found) == 1:
                self.finals.close(found[0].session_no, now_ns)
                self._accounts.release(node)

    def reprice(self, tenant_no: int, event_no: int, now_ns: int) -> bool:
        """Record an unpriced event again if its cost is known by now."""
        if self._store.submitted.load(event_no) is not None:
            return self.bookings.reprice(tenant_no, event_no, now_ns)
        return self._accounts.reprice(tenant_no, event_no, now_ns)

    def rebook(self, tenant_no: int, event_no: int, now_ns: int) -> bool:
        """Record an event again if the terms of now make something else of it."""
        if self._store.submitted.load(event_no) is not None:
            return self.bookings.rebook(tenant_no, event_no, now_ns)
        kind = self._store.events.load(event_no)["kind"]
        if kind == Kind.FINAL:
            return self.finals.rebook(event_no, now_ns)
        return kind != Kind.VOID and self._accounts.rebook(tenant_no, event_no, now_ns)

    def review(self, tenant_no: int, trace_id: bytes) -> None:
        """Look at all spans of a trace again in `finish`: who pays for them may have changed."""
        tree = self._tree_of(tenant_no, trace_id)
        for span_id in self._store.traces.span_ids(tree.trace_no):
            node = tree.find(span_id)
            if node is not None:
                tree.changed[span_id] = node
                if node.role == Role.CLOSE:
                    self._closing.append((tenant_no, node))

    def strike(self, tenant_no: int, event_no: int, now_ns: int) -> int:
        """Void what a span is billed for, for good; returns the number of the VOID, 0 if there was nothing."""
        return self._accounts.strike(tenant_no, event_no, now_ns)

    def node_of(self, tenant_no: int, trace_id: bytes, span_id: int) -> Node | None:
        """The stored node of a span, None for a span that is not known."""
        trace_no, known = self._store.traces.trace(trace_id, tenant_no)
        return self._store.traces.load(trace_no, span_id) if known else None

    def finish(self, now_ns: int) -> None:
        """Account for everything that was linked since the last time."""
        inserts: list[tuple[int, ...]] = []
        for tree in self._trees.values():
            settle(tree)
            self._twins.mark(tree)
        if self._echoes.mark([(tenant_no, tree) for (_, tenant_no), tree in self._trees.items()]):
            for tree in self._trees.values():
                self._twins.mark(tree)  # what is counted anew must hear again what its twins know
        for (_, tenant_no), tree in self._trees.items():
            self._accounts.account(tenant_no, tree, now_ns)
            self._store.traces.save(tree.trace_no, tree.changed.values(), inserts)
        self._store.traces.insert(inserts)
        for tree in self._trees.values():
            if tree.left:
                self._accounts.settle_sessions(tree)
        for tenant_no, node in self._closing:
            self._close(tenant_no, node, now_ns)
        self._trees.clear()
        self._closing.clear()
