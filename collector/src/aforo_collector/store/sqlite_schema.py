"""The tables of a collector in SQLite.

Rows are keyed by arrival (every `_no` counts up), so that a big file is written where it is warm; the random
keys of the wire (trace ids, session ids) are looked up once per trace or session and interned. Amounts are
canonical decimal text, times nanoseconds since 1970, span ids signed integers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from .event_keys import scattered_keys
from .key_moves import index_keys

STEPS: tuple[str | Callable[[sqlite3.Connection], None], ...] = (
    """
CREATE TABLE counters (name TEXT PRIMARY KEY, next_no INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE tenants (tenant_no INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL UNIQUE);
CREATE TABLE api_keys (
    digest BLOB PRIMARY KEY, tenant_no INTEGER NOT NULL, name TEXT NOT NULL, created_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE catalogs (
    catalog_no INTEGER PRIMARY KEY, tenant_no INTEGER NOT NULL, applied_ns INTEGER NOT NULL, body TEXT NOT NULL
);

CREATE TABLE names (name_no INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE customers (
    customer_no INTEGER PRIMARY KEY, tenant_no INTEGER NOT NULL, customer_id TEXT NOT NULL,
    UNIQUE (tenant_no, customer_id)
);
CREATE TABLE payers (
    payer_no INTEGER PRIMARY KEY, tenant_no INTEGER NOT NULL, customer_no INTEGER NOT NULL,
    team_id TEXT NOT NULL, agent_id TEXT NOT NULL, app_id TEXT NOT NULL, product_type TEXT NOT NULL,
    UNIQUE (customer_no, tenant_no, team_id, agent_id, app_id, product_type)
);

CREATE TABLE batches (
    batch_no INTEGER PRIMARY KEY, tenant_no INTEGER NOT NULL, received_ns INTEGER NOT NULL,
    content_type TEXT NOT NULL, spans INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE TABLE traces (
    trace_id BLOB NOT NULL, tenant_no INTEGER NOT NULL, trace_no INTEGER NOT NULL,
    PRIMARY KEY (trace_id, tenant_no)
) WITHOUT ROWID;
CREATE TABLE strands (
    strand_no INTEGER PRIMARY KEY, trace_no INTEGER NOT NULL, trace_id BLOB, payer_no INTEGER NOT NULL,
    session_no INTEGER NOT NULL
);
CREATE INDEX strands_by_session ON strands (session_no) WHERE session_no > 0;
CREATE TABLE spans (
    trace_no INTEGER NOT NULL, span_id INTEGER NOT NULL, parent_id INTEGER NOT NULL, flags INTEGER NOT NULL,
    first_child INTEGER NOT NULL, next_sibling INTEGER NOT NULL, label_no INTEGER NOT NULL,
    within_no INTEGER NOT NULL, strand_no INTEGER NOT NULL, event_no INTEGER NOT NULL,
    batch_no INTEGER NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (trace_no, span_id)
) WITHOUT ROWID;

CREATE TABLE sessions (
    session_no INTEGER PRIMARY KEY, tenant_no INTEGER NOT NULL, customer_no INTEGER NOT NULL,
    session_id TEXT NOT NULL, touched_ns INTEGER NOT NULL, closed_ns INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE UNIQUE INDEX sessions_by_id ON sessions (session_id, customer_no);
CREATE INDEX sessions_by_customer ON sessions (customer_no);
CREATE TABLE session_due (
    due_ns INTEGER NOT NULL, session_no INTEGER NOT NULL, PRIMARY KEY (due_ns, session_no)
) WITHOUT ROWID;

CREATE TABLE usage_events (
    event_no INTEGER PRIMARY KEY, kind INTEGER NOT NULL, strand_no INTEGER NOT NULL, span_id INTEGER NOT NULL,
    occurred_ns INTEGER NOT NULL, duration_ns INTEGER NOT NULL, recorded_ns INTEGER NOT NULL,
    units INTEGER NOT NULL, label_no INTEGER NOT NULL, status_no INTEGER NOT NULL, step_no INTEGER NOT NULL,
    metric_no INTEGER NOT NULL, calls INTEGER NOT NULL, model_calls INTEGER NOT NULL, input INTEGER NOT NULL,
    output INTEGER NOT NULL, reasoning INTEGER NOT NULL, cache_read INTEGER NOT NULL,
    cache_write INTEGER NOT NULL, quantity TEXT, cost TEXT, reason_no INTEGER NOT NULL,
    quality_no INTEGER NOT NULL, revenue TEXT, adjustment INTEGER NOT NULL, corrects INTEGER NOT NULL,
    metadata TEXT
);
CREATE INDEX corrections_by_span ON usage_events (span_id) WHERE kind >= 5;
CREATE TABLE voided (event_no INTEGER PRIMARY KEY, by_event_no INTEGER NOT NULL);
CREATE TABLE unpriced (event_no INTEGER PRIMARY KEY, tenant_no INTEGER NOT NULL);
CREATE TABLE event_keys (
    tenant_no INTEGER NOT NULL, key TEXT NOT NULL, digest BLOB NOT NULL, event_no INTEGER NOT NULL,
    PRIMARY KEY (tenant_no, key)
) WITHOUT ROWID;
CREATE TABLE event_segments (
    customer_no INTEGER NOT NULL, segment INTEGER NOT NULL, offsets BLOB NOT NULL,
    PRIMARY KEY (customer_no, segment)
) WITHOUT ROWID;
CREATE TABLE usage_hourly (
    payer_no INTEGER NOT NULL, hour INTEGER NOT NULL, kind INTEGER NOT NULL, units INTEGER NOT NULL,
    metric_no INTEGER NOT NULL, label_no INTEGER NOT NULL, status_no INTEGER NOT NULL, step_no INTEGER NOT NULL,
    events INTEGER NOT NULL, calls INTEGER NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL,
    reasoning INTEGER NOT NULL, cache_read INTEGER NOT NULL, cache_write INTEGER NOT NULL,
    called INTEGER NOT NULL, inputs INTEGER NOT NULL, outputs INTEGER NOT NULL, reasonings INTEGER NOT NULL,
    cache_reads INTEGER NOT NULL, cache_writes INTEGER NOT NULL, costs INTEGER NOT NULL,
    unpriced INTEGER NOT NULL, quantity TEXT NOT NULL, cost TEXT NOT NULL, revenue TEXT NOT NULL,
    PRIMARY KEY (payer_no, hour, kind, units, metric_no, label_no, status_no, step_no)
) WITHOUT ROWID;

CREATE TABLE quarantine (
    quarantine_no INTEGER PRIMARY KEY, tenant_no INTEGER NOT NULL, door TEXT NOT NULL, code TEXT NOT NULL,
    detail TEXT NOT NULL, trace_id BLOB, span_id INTEGER NOT NULL, batch_no INTEGER NOT NULL,
    position INTEGER NOT NULL, received_ns INTEGER NOT NULL
);
CREATE INDEX quarantine_by_span ON quarantine (batch_no, position);
CREATE TABLE intake (
    tenant_no INTEGER NOT NULL, door TEXT NOT NULL, received INTEGER NOT NULL, recorded INTEGER NOT NULL,
    duplicates INTEGER NOT NULL, conflicts INTEGER NOT NULL, rejected INTEGER NOT NULL,
    PRIMARY KEY (tenant_no, door)
) WITHOUT ROWID;
""",
    """
CREATE TABLE sources (
    customer_no INTEGER NOT NULL, source TEXT NOT NULL, PRIMARY KEY (customer_no, source)
) WITHOUT ROWID;
CREATE TABLE calls (
    customer_no INTEGER NOT NULL, start_ns INTEGER NOT NULL, trace_id BLOB NOT NULL, span_id INTEGER NOT NULL,
    end_ns INTEGER NOT NULL, role INTEGER NOT NULL, source TEXT NOT NULL, label TEXT NOT NULL,
    call_id TEXT NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL, worth INTEGER NOT NULL,
    echo INTEGER NOT NULL,
    PRIMARY KEY (customer_no, start_ns, trace_id, span_id)
) WITHOUT ROWID;
CREATE INDEX agents ON calls (customer_no, start_ns) WHERE role = 3;
""",
    """
CREATE TABLE submitted (
    event_no INTEGER PRIMARY KEY, part INTEGER NOT NULL, door_no INTEGER NOT NULL, key TEXT NOT NULL,
    session_no INTEGER NOT NULL, trace_id TEXT NOT NULL, details TEXT NOT NULL
);
CREATE INDEX submitted_by_session ON submitted (session_no) WHERE session_no > 0;
CREATE INDEX submitted_by_trace ON submitted (trace_id) WHERE trace_id <> '';
CREATE TABLE set_aside (quarantine_no INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE rebookings (
    customer_no INTEGER PRIMARY KEY, tenant_no INTEGER NOT NULL, next_event_no INTEGER NOT NULL
);
CREATE TABLE assignments (
    trace_id BLOB NOT NULL, tenant_no INTEGER NOT NULL, customer_id TEXT NOT NULL,
    PRIMARY KEY (trace_id, tenant_no)
) WITHOUT ROWID;
""",
    """
CREATE TABLE used_metrics (
    tenant_no INTEGER NOT NULL, metric_no INTEGER NOT NULL, PRIMARY KEY (tenant_no, metric_no)
) WITHOUT ROWID;
CREATE TABLE samples (
    customer_no INTEGER NOT NULL, metric_no INTEGER NOT NULL, occurred_ns INTEGER NOT NULL,
    event_no INTEGER NOT NULL, payer_no INTEGER NOT NULL, label_no INTEGER NOT NULL,
    status_no INTEGER NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (customer_no, metric_no, occurred_ns, event_no)
) WITHOUT ROWID;
INSERT INTO used_metrics
    SELECT DISTINCT tenant_no, metric_no FROM usage_hourly JOIN payers USING (payer_no) WHERE metric_no > 0;
INSERT INTO samples
    SELECT customer_no, metric_no, occurred_ns, event_no, payer_no, label_no, status_no,
        iif(aggregation = 'COUNT_DISTINCT', '', coalesce(quantity, '0'))
    FROM usage_events JOIN strands USING (strand_no) JOIN payers USING (payer_no) JOIN (
        SELECT tenant_no, name_no AS metric_no, json_extract(value, '$.aggregation') AS aggregation
        FROM catalogs, json_each(body, '$.billable_units') JOIN names ON name = json_extract(value, '$.name')
        WHERE catalog_no IN (SELECT max(catalog_no) FROM catalogs GROUP BY tenant_no)
    ) USING (tenant_no, metric_no)
    WHERE aggregation NOT IN ('COUNT', 'SUM') AND event_no NOT IN (SELECT event_no FROM voided);
""",
    """
CREATE TABLE credentials (
    key_id TEXT PRIMARY KEY, tenant_no INTEGER NOT NULL, kind TEXT NOT NULL, scopes TEXT NOT NULL,
    name TEXT NOT NULL, customer_id TEXT NOT NULL, team_id TEXT NOT NULL, accessor_type TEXT NOT NULL,
    accessor_id TEXT NOT NULL, product_type TEXT NOT NULL, status TEXT NOT NULL, created_ns INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL, rate_per_minute INTEGER, used_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE secrets (
    digest BLOB PRIMARY KEY, key_id TEXT NOT NULL, until_ns INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO credentials SELECT 'key_' || lower(hex(substr(digest, 1, 12))), tenant_no, 'BEARER_TOKEN', 'admin',
    name, '', '', '', '', '', 'ACTIVE', created_ns, 0, NULL, 0 FROM api_keys;
INSERT INTO secrets SELECT digest, 'key_' || lower(hex(substr(digest, 1, 12))), 0 FROM api_keys;
DROP TABLE api_keys;
CREATE TABLE answers (
    tenant_no INTEGER NOT NULL, key TEXT NOT NULL, digest BLOB NOT NULL, body BLOB NOT NULL,
    answered_ns INTEGER NOT NULL, PRIMARY KEY (tenant_no, key)
) WITHOUT ROWID;
ALTER TABLE batches ADD COLUMN caller TEXT NOT NULL DEFAULT '';
ALTER TABLE set_aside ADD COLUMN caller TEXT NOT NULL DEFAULT '';
""",
    """
DROP TABLE usage_hourly;
CREATE TABLE usage_hourly (
    payer_no INTEGER NOT NULL, hour INTEGER NOT NULL, kind INTEGER NOT NULL, units INTEGER NOT NULL,
    metric_no INTEGER NOT NULL, label_no INTEGER NOT NULL, status_no INTEGER NOT NULL, step_no INTEGER NOT NULL,
    events INTEGER NOT NULL, calls INTEGER NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL,
    reasoning INTEGER NOT NULL, cache_read INTEGER NOT NULL, cache_write INTEGER NOT NULL,
    called INTEGER NOT NULL, inputs INTEGER NOT NULL, outputs INTEGER NOT NULL, reasonings INTEGER NOT NULL,
    cache_reads INTEGER NOT NULL, cache_writes INTEGER NOT NULL, costs INTEGER NOT NULL,
    unpriced INTEGER NOT NULL, quantity INTEGER NOT NULL, quantity_pico INTEGER NOT NULL,
    cost INTEGER NOT NULL, cost_pico INTEGER NOT NULL, revenue INTEGER NOT NULL,
    revenue_pico INTEGER NOT NULL, rest TEXT,
    PRIMARY KEY (payer_no, hour, kind, units, metric_no, label_no, status_no, step_no)
) WITHOUT ROWID;
CREATE TABLE usage_daily (
    payer_no INTEGER NOT NULL, day INTEGER NOT NULL, kind INTEGER NOT NULL, units INTEGER NOT NULL,
    metric_no INTEGER NOT NULL, label_no INTEGER NOT NULL, status_no INTEGER NOT NULL, step_no INTEGER NOT NULL,
    events INTEGER NOT NULL, calls INTEGER NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL,
    reasoning INTEGER NOT NULL, cache_read INTEGER NOT NULL, cache_write INTEGER NOT NULL,
    called INTEGER NOT NULL, inputs INTEGER NOT NULL, outputs INTEGER NOT NULL, reasonings INTEGER NOT NULL,
    cache_reads INTEGER NOT NULL, cache_writes INTEGER NOT NULL, costs INTEGER NOT NULL,
    unpriced INTEGER NOT NULL, quantity INTEGER NOT NULL, quantity_pico INTEGER NOT NULL,
    cost INTEGER NOT NULL, cost_pico INTEGER NOT NULL, revenue INTEGER NOT NULL,
    revenue_pico INTEGER NOT NULL, rest TEXT,
    PRIMARY KEY (payer_no, day, kind, units, metric_no, label_no, status_no, step_no)
) WITHOUT ROWID;
INSERT INTO counters VALUES ('roll_ups_due', 1);
""",
    """
CREATE TABLE webhook_sources (
    source_no INTEGER PRIMARY KEY AUTOINCREMENT, tenant_no INTEGER NOT NULL, source_id TEXT NOT NULL UNIQUE,
    provider TEXT NOT NULL, settings TEXT NOT NULL, active INTEGER NOT NULL, retention_days INTEGER NOT NULL,
    created_ns INTEGER NOT NULL, secret BLOB NOT NULL, former BLOB NOT NULL, former_until_ns INTEGER NOT NULL,
    deleted_ns INTEGER NOT NULL
);
CREATE INDEX webhook_sources_by_tenant ON webhook_sources (tenant_no);
CREATE TABLE webhook_deliveries (
    delivery_no INTEGER PRIMARY KEY AUTOINCREMENT, tenant_no INTEGER NOT NULL, source_no INTEGER NOT NULL,
    received_ns INTEGER NOT NULL, verified INTEGER NOT NULL, outcome TEXT NOT NULL, detail TEXT NOT NULL,
    url TEXT NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL, size_bytes INTEGER NOT NULL,
    events TEXT NOT NULL, replayed_ns INTEGER NOT NULL
);
CREATE INDEX webhook_deliveries_by_tenant ON webhook_deliveries (tenant_no);
CREATE INDEX webhook_deliveries_by_outcome ON webhook_deliveries (source_no, outcome);
CREATE INDEX webhook_deliveries_by_time ON webhook_deliveries (source_no, received_ns);
CREATE INDEX webhook_deliveries_unverified ON webhook_deliveries (source_no) WHERE verified = 0;
""",
    """
CREATE TABLE upload_jobs (
    job_no INTEGER PRIMARY KEY, upload_id TEXT NOT NULL UNIQUE, tenant_no INTEGER NOT NULL,
    digest TEXT NOT NULL, wish BLOB, is_waiting INTEGER NOT NULL, reversal TEXT NOT NULL DEFAULT '',
    asked BLOB NOT NULL, progress BLOB NOT NULL
);
CREATE UNIQUE INDEX upload_jobs_by_wish ON upload_jobs (tenant_no, wish) WHERE wish IS NOT NULL;
CREATE INDEX upload_jobs_by_file ON upload_jobs (tenant_no, digest);
CREATE INDEX upload_jobs_waiting ON upload_jobs (job_no) WHERE is_waiting = 1;
CREATE TABLE upload_refusals (
    job_no INTEGER NOT NULL, last_line INTEGER NOT NULL, rows INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE INDEX upload_refusals_by_job ON upload_refusals (job_no, last_line);
CREATE TABLE upload_events (
    job_no INTEGER NOT NULL, first_no INTEGER NOT NULL, last_no INTEGER NOT NULL,
    PRIMARY KEY (job_no, first_no)
) WITHOUT ROWID;
""",
    """
ALTER TABLE strands ADD COLUMN said TEXT;
""",
    index_keys,
    scattered_keys(),
    """
CREATE TABLE ended_tokens (token_id TEXT PRIMARY KEY, until_ns INTEGER NOT NULL) WITHOUT ROWID;
""",
    """
CREATE INDEX telling_tools ON calls (customer_no, start_ns) WHERE role = 2 AND input + output > 0;
""",
    """
ALTER TABLE set_aside ADD COLUMN origin TEXT NOT NULL DEFAULT '';
CREATE INDEX set_aside_by_origin ON set_aside (origin) WHERE origin <> '';
""",
    """
CREATE TABLE received (event_no INTEGER PRIMARY KEY, received_ns INTEGER NOT NULL);
""",
)
"""What makes each version of the schema out of the one before; a step that a file has taken never changes."""


def take_steps(connection: sqlite3.Connection, version: int, wanted: int) -> None:
    """Bring a file from a version to a later one, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    for step in STEPS[version:wanted]:
        if isinstance(step, str):
            for statement in step.split(";"):
                connection.execute(statement)
        else:
            step(connection)
    connection.execute(f"PRAGMA user_version = {wanted}")
    connection.execute("COMMIT")
