"""How far back an upload may go: 90 days, or as far as it asks for and its tenant or its collector allows."""

from __future__ import annotations

from tests.collector.running import Running

from .sending import ago, send, upload


def test_old_rows_want_a_backfill_that_is_allowed(collector: Running) -> None:
    """Rows older than 90 days are told as such, recorded with a window that the setting allows, and no wider."""
    data = f"customer,metric,quantity,timestamp\nold,api_calls,1,{ago(days=300)}\n".encode()
    job = upload(collector, "a.csv", data)
    assert (job["state"], job["errors"]) == ("FAILED", {"TOO_OLD": 1})
    assert job["problem"]["code"] == "NO_USABLE_ROWS"
    refused = send(collector, "a.csv", data, backfillDays="401")
    assert (refused.status_code, refused.json()["code"]) == (422, "INVALID_PARAMETER")
    assert upload(collector, "a.csv", data, backfillDays="400")["state"] == "COMPLETED"
    assert upload(collector, "b.csv", data.replace(b",1,", b",2,"), backfillDays="299")["errors"] == {
        "TOO_OLD": 1
    }


def test_a_tenant_says_how_far_back_its_rows_may_go(collector: Running) -> None:
    """The catalog's word wins over the collector's setting, both ways, and leaves it alone when it is gone."""
    data = f"customer,metric,quantity,timestamp\nold,api_calls,1,{ago(days=300)}\n".encode()
    for days, asked, status in (
        ("300", "301", 422),
        ("500", "500", 202),
        ("500", "501", 422),
        ("", "400", 202),
    ):
        catalog = {"backfill_days": days} if days else {}
        collector.http.put("/v1/catalog", json=catalog).raise_for_status()
        answer = send(collector, f"{days}-{asked}.csv", data, backfillDays=asked)
        assert answer.status_code == status, answer.text
