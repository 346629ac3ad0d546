"""Accounts of usage: what each span should count for, against what was recorded of it."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from aforo_collector.domain.chains import ask_above, ask_inside
from aforo_collector.domain.echoes import call_of
from aforo_collector.domain.identity import Identity
from aforo_collector.domain.metering import CostOf, meter
from aforo_collector.domain.metrics import BillableUnit
from aforo_collector.domain.session import NS_PER_S, Policy, Session
from aforo_collector.domain.span import Role, Span
from aforo_collector.domain.trace import (
    ARRIVED,
    COVERED,
    CUT,
    ROLE_MASK,
    ROLE_SHIFT,
    STRUCK,
    Node,
    Standing,
    Tree,
    standing,
)
from aforo_collector.domain.usage import Kind, Occurrence
from aforo_collector.pipeline.admit import UNKNOWN_CUSTOMER, recorded_metadata, unknown_customer
from aforo_collector.pipeline.recorded import rated_usage
from aforo_collector.pipeline.terms import Terms
from aforo_collector.store.event_rows import occurrence_of
from aforo_collector.store.sqlite_writer import SqliteWriter
from aforo_collector.store.trace_rows import Strand

from .archive import Archive
from .bounds import settle
from .contracts import Contracts, payer_of
from .event_texts import FILTERED, filtered
from .finals import Finals
from .twins import Twins

DOOR = "otlp"
NO_CUSTOMER = "NO_CUSTOMER"
_NOBODY = (NO_CUSTOMER, UNKNOWN_CUSTOMER)
PARENT_CYCLE = "PARENT_CYCLE"
_RECORD = Standing.RECORD
_MODEL, _TOOL, _CLOSE = (role << ROLE_SHIFT for role in (Role.MODEL, Role.TOOL, Role.CLOSE))


class Account(NamedTuple):
    """What the spans of one identity in one trace share; without a session nobody pays yet.

    `identity` is whose they are: what they say, or what somebody assigned them to.
    """

    identity: Identity
    strand: Strand
    session: Session | None
    terms: Terms
    cost_of: CostOf
    joined: list[Span]
    """Spans that are new to the session."""
    records: list[tuple[Node, Span, int]]
    """What counts and is not recorded yet; the number is the VOID that a new record follows, 0 for none."""


class Accounts:
    """Records and takes back, inside the writer's transaction."""

    def __init__(
        self,
        store: SqliteWriter,
        archive: Archive,
        contracts: Contracts,
        finals: Finals,
        twins: Twins,
        policy: Policy,
    ) -> None:
        self._store = store
        self._archive = archive
        self._contracts = contracts
        self._finals = finals
        self._twins = twins
        self._idle_ns = policy.idle_s * NS_PER_S

    def account(self, tenant_no: int, tree: Tree, now_ns: int) -> None:
        """Bring what is recorded of a tree's changed spans in line with what they count for now."""
        accounts: dict[Identity, Account] = {}
        account: Account | None = None
        known: Identity | None = None
        for node in list(tree.changed.values()):
            flags = node.flags
            if not flags & ARRIVED:
                continue
            if account is None or node.identity is not known:
                known = node.identity
                account = accounts.get(known)
                if account is None:
                    account = accounts[known] = self._open(tenant_no, tree, known, now_ns)
                _, strand, session, _, _, joined, records = account
            if node.first_child or flags & COVERED:
                _ask_others(tree, node)
            if node.strand_no:
                self._review(tenant_no, tree, account, node, now_ns)
                continue
            span = node.span or tree.span(node)
            node.strand_no = strand.strand_no
            if flags & CUT:
                detail = "the span is its own ancestor; it was billed without its parent"
                self._aside(tenant_no, PARENT_CYCLE, detail, span, node, now_ns)
            if session is not None:
                joined.append(span)
                if standing(node) is _RECORD:
                    records.append((node, span, 0))
            elif _needs_payer(node):
                self._unassigned(tenant_no, span, node, account, now_ns)
        for account in accounts.values():
            self._book(tenant_no, account, now_ns)

    def _open(self, tenant_no: int, tree: Tree, identity: Identity, now_ns: int) -> Account:
        said, identity = identity, self._assigned(tenant_no, tree, identity)
        payer = self._contracts.payer(tenant_no, identity)
        session: Session | None = None
        if identity.customer_id and self._contracts.catalog(tenant_no).accepts(identity.customer_id):
            session_id = identity.session_id or tree.trace_id.hex()
            session = self._store.sessions.open(tenant_no, identity, session_id, now_ns)
            if session.spans:
                session = self._finals.current(session, now_ns)
            self._store.sessions.changed(session)
        session_no = session.session_no if session is not None else 0
        strand = self._store.traces.strand(tree.trace_no, said)
        numbers = self._store.interning.payer(tenant_no, payer)
        # The session of a remembered strand may have lost its last span since, and been taken away.
        if strand is None or (strand.payer_no, strand.session_no) != (numbers[0], session_no):
            kept = payer._replace(session_id=said.session_id) if session_no else payer
            strand = self._store.traces.new_strand(
                tree.trace_no, tree.trace_id, said, numbers, session_no, is_all=said == kept
            )
        terms = self._contracts.terms(tenant_no, strand.payer_no, payer)
        return Account(identity, strand, session, terms, self._contracts.cost_of(tenant_no), [], [])

    def _assigned(self, tenant_no: int, tree: Tree, said: Identity) -> Identity:
        """What spans say, with the customer that somebody assigned them to."""
        if said.customer_id:
            return said
        return said._replace(customer_id=self._store.assignment(tenant_no, tree.trace_id))

    def _book(self, tenant_no: int, account: Account, now_ns: int) -> None:
        """Count the spans of an account into its session and record what they are."""
        identity, strand, session, terms, cost_of, joined, records = account
        if session is None:
            return
        late = session.closed_ns > 0
        if joined and not late:
            session.join(joined, identity, now_ns, self._idle_ns)
        booked = []
        append, always, rated = self._store.events.append, terms, terms.rated
        for node, span, corrects in records:
            if always.sold_ns is not None:
                terms = always.at(span.end_ns)
                rated = terms.rated
            occurrence = meter(node, span, cost_of)
            metadata = sample = None
            if span.recorded is None:
                occurrence = rated(occurrence)
            else:
                unit = self._contracts.catalog(tenant_no).unit(occurrence.metric)
                # What was billed had been admitted, also where a condition has come since.
                if not (corrects or unit is None or self._routed(tenant_no, unit, span, node, now_ns)):
                    continue
                occurrence, sample = rated_usage(span, occurrence, unit, terms)
                metadata = span.recorded.metadata or None
            booked.append(occurrence)
            end_ns = span.end_ns
            node.event_no = append(
                tenant_no, strand, span.span_id, end_ns, end_ns - span.start_ns, terms.mask(occurrence),
                occurrence, late, now_ns, corrects, metadata, sample,
            )  # fmt: skip
        if booked:
            (session.late if late else session.totals).add(booked)

    def _routed(self, tenant_no: int, unit: BillableUnit, span: Span, node: Node, now_ns: int) -> bool:
        """Whether the conditions of its unit let a hand-recorded event count; it is set aside if they do not."""
        self._store.release(node.batch_no, node.position, (FILTERED,))
        admitted = not unit.conditions or unit.admits(recorded_metadata(span))
        if not admitted:
            self._aside(tenant_no, FILTERED, filtered(unit.name), span, node, now_ns)
        return admitted

    def _review(self, tenant_no: int, tree: Tree, account: Account, node: Node, now_ns: int) -> None:
        """A span that was accounted for before: move it, void it, record it, or leave it as it is."""
        span = tree.span(node)
        moved = not self._same(node.strand_no, account.strand)
        if moved:
            self._leave(tree, node, now_ns)
            node.strand_no = account.strand.strand_no
            account.joined.append(span)
        counts = standing(node) is _RECORD
        if account.session is None:
            if not _needs_payer(node):
                self.release(node)
            elif moved:
                self._unassigned(tenant_no, span, node, account, now_ns)
            counts = False
        if not counts and not node.event_no:
            return
        wanted = meter(node, span, account.cost_of) if counts else None
        if node.event_no:
            row = self._store.events.load(node.event_no)
            recorded = occurrence_of(row, self._store.interning.text)
            stated = bool(span.reported_cost or node.cost)
            if wanted is not None and not moved and _counts(recorded, stated) == _counts(wanted, stated):
                return
        corrects = self._void(tenant_no, node, now_ns) if node.event_no else 0
        if counts:
            account.records.append((node, span, corrects))

    def _same(self, strand_no: int, strand: Strand) -> bool:
        if strand_no == strand.strand_no:
            return True
        old, _ = self._store.traces.stored_strand(strand_no)
        said = self._store.traces.identity
        return old.session_no == strand.session_no and payer_of(said(strand_no)) == payer_of(
            said(strand.strand_no)
        )

    def _leave(self, tree: Tree, node: Node, now_ns: int) -> None:
        """The span turns out to belong elsewhere: its old session must look as if it had never seen it."""
        old, _ = self._store.traces.stored_strand(node.strand_no)
        if not old.session_no:
            self.release(node)
            return
        session = self._finals.current(self._store.sessions.load(old.session_no), now_ns)
        if session.closed_ns:
            return
        session.spans -= 1
        self._store.sessions.changed(session)
        tree.left.add(old.session_no)

    def _void(self, tenant_no: int, node: Node, now_ns: int) -> int:
        """Take back what was recorded of a span; returns the number of the event that says so."""
        row = self._store.events.load(node.event_no)
        recorded = occurrence_of(row, self._store.interning.text)
        strand, _ = self._store.traces.stored_strand(row["strand_no"])
        session = self._finals.current(self._store.sessions.load(strand.session_no), now_ns)
        late = session.closed_ns > 0
        (session.late if late else session.totals).add([recorded], -1)
        self._store.sessions.changed(session)
        void_no = self._store.events.take_back(node.event_no, tenant_no, strand, row, recorded, late, now_ns)
        node.event_no = 0
        return void_no

    def strike(self, tenant_no: int, event_no: int, now_ns: int) -> int:
        """Void what a span is billed for, for good; returns the number of the VOID, 0 if it was voided before."""
        strand, tree, node = self._origin(tenant_no, event_no)
        if node.event_no != event_no:
            return 0
        node.flags |= STRUCK
        self._store.calls.strike(strand.customer_no, call_of(tree.span(node)))
        void_no = self._void(tenant_no, node, now_ns)
        self._store.traces.save(tree.trace_no, [node], [])
        return void_no

    def _origin(self, tenant_no: int, event_no: int) -> tuple[Strand, Tree, Node]:
        """The strand, the tree and the node of the span that an event is of."""
        row = self._store.events.load(event_no)
        strand, trace_id = self._store.traces.stored_strand(row["strand_no"])
        trace_no, _ = self._store.traces.trace(trace_id, tenant_no)
        tree = Tree(trace_id, trace_no, self._store.traces.load, self._archive.span_of)
        node = tree.find(row["span_id"])
        assert node is not None, "an event has its span"
        return strand, tree, node

    def reprice(self, tenant_no: int, event_no: int, now_ns: int) -> bool:
        """Record an unpriced event again if its cost is known by now; the old one is voided."""
        strand, tree, node = self._origin(tenant_no, event_no)
        if node.event_no != event_no:
            return False  # recorded again meanwhile
        span = tree.span(node)
        self._ask_all(tree, node)
        cost_of = self._contracts.cost_of(tenant_no)
        if meter(node, span, cost_of).cost is None:
            return False
        return self._record_again(tenant_no, strand, tree, node, now_ns)

    def rebook(self, tenant_no: int, event_no: int, now_ns: int) -> bool:
        """Record an event again if the terms of its payer make another one of it by now."""
        row = self._store.events.load(event_no)
        strand, tree, node = self._origin(tenant_no, event_no)
        if node.event_no != event_no:
            return False
        span = tree.span(node)
        booked, strand = strand, self._placed(tenant_no, tree, strand)
        payer = self._store.interning.payer_identity(strand.payer_no)[1]
        terms = self._contracts.terms(tenant_no, strand.payer_no, payer).at(row["occurred_ns"])
        recorded = occurrence_of(row, self._store.interning.text)
        wanted = (
            rated_usage(span, recorded, self._contracts.catalog(tenant_no).unit(recorded.metric), terms)[0]
            if span.recorded
            else terms.rated(recorded._replace(revenue=None))
        )
        if booked is strand and (wanted, terms.mask(recorded)) == (recorded, row["units"]):
            return False
        self._ask_all(tree, node)
        node.strand_no = strand.strand_no
        return self._record_again(tenant_no, strand, tree, node, now_ns)

    def _ask_all(self, tree: Tree, node: Node) -> None:
        """Note what any other span knows of a call that is recorded already."""
        tree.changed[node.span_id] = node
        self._twins.mark(tree)
        _ask_others(tree, node)

    def _placed(self, tenant_no: int, tree: Tree, strand: Strand) -> Strand:
        """The strand, or one of the team that the catalog puts its payer into by now."""
        said = self._store.traces.identity(strand.strand_no)
        identity = self._assigned(tenant_no, tree, said)
        numbers = self._store.interning.payer(tenant_no, self._contracts.payer(tenant_no, identity))
        if numbers[0] == strand.payer_no:
            return strand
        return self._store.traces.new_strand(
            tree.trace_no, tree.trace_id, said, numbers, strand.session_no, is_all=False
        )

    def _record_again(self, tenant_no: int, strand: Strand, tree: Tree, node: Node, now_ns: int) -> bool:
        span = tree.span(node)
        session = self._finals.current(self._store.sessions.load(strand.session_no), now_ns)
        payer = self._store.interning.payer_identity(strand.payer_no)[1]
        terms = self._contracts.terms(tenant_no, strand.payer_no, payer)
        cost_of = self._contracts.cost_of(tenant_no)
        corrects = self._void(tenant_no, node, now_ns)
        account = Account(payer, strand, session, terms, cost_of, [], [(node, span, corrects)])
        self._book(tenant_no, account, now_ns)
        self._store.sessions.changed(session)
        self._store.traces.save(tree.trace_no, [node], [])
        return True

    def settle_sessions(self, tree: Tree) -> None:
        """Bring the sessions that lost some spans of a tree in line with what they have left."""
        for session_no in sorted(tree.left):
            session = self._store.sessions.find(session_no)
            if session is not None:
                settle(self._store, self._archive, session, self._idle_ns)
        tree.left.clear()

    def release(self, node: Node) -> None:
        """Take a span out of the quarantine that nobody was known for."""
        self._store.release(node.batch_no, node.position, _NOBODY)

    def _unassigned(self, tenant_no: int, span: Span, node: Node, account: Account, now_ns: int) -> None:
        customer_id = account.identity.customer_id
        code, detail = (
            NO_CUSTOMER,
            f"{span.name!r} names no customer, nor does its resource or a span above it",
        )
        if customer_id:
            code, detail = UNKNOWN_CUSTOMER, unknown_customer(customer_id)
        self._aside(tenant_no, code, detail, span, node, now_ns)

    def _aside(self, tenant_no: int, code: str, detail: str, span: Span, node: Node, now_ns: int) -> None:
        self._store.quarantine(
            tenant_no, DOOR, code, detail, span.trace_id, span.span_id, node.batch_no, node.position, now_ns
        )


def _needs_payer(node: Node) -> bool:
    return standing(node) is _RECORD or node.flags & ROLE_MASK == _CLOSE


def _ask_others(tree: Tree, node: Node) -> None:
    """Note what the spans above or below know of a call better than its record."""
    role = node.flags & ROLE_MASK
    if role == _TOOL:
        ask_inside(tree, node)
    elif role == _MODEL and node.flags & COVERED:
        ask_above(tree, node)


def _counts(occurrence: Occurrence, stated: bool) -> Occurrence:
    """What a recount must agree on: everything but prices, which may have changed since.

    That is the cost of a tool, too, if it is `stated`, or if there are no tokens that it could come from.
    """
    if occurrence.kind == Kind.USAGE:  # its label and status are what its price made of what it says
        return Occurrence(Kind.USAGE, metric=occurrence.metric)
    reason = "no_usage" if occurrence.reason == "no_usage" else ""
    tool = occurrence.kind == Kind.TOOL
    cost = occurrence.cost if tool and (stated or not occurrence.model_calls) else None
    return occurrence._replace(cost=cost, revenue=None, reason=reason, quantity=Decimal(0))
