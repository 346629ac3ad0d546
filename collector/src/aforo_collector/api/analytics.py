"""Usage added up: by metric, customer, team, agent, tool, model, day or hour."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from aforo_collector.service.analytics import KEYS, UsageQuery

from .answers import LIMIT_DEFAULT, Answer, Cursor, From, Limit, To, moment
from .desk import AtDesk, CustomerId, OfTenant

router = APIRouter(prefix="/v1/analytics", tags=["analytics"])

GroupBy = Annotated[
    list[str] | None,
    Query(alias="groupBy", description=f"Several with commas between them: {', '.join(KEYS)}."),
]


@router.get("/usage", response_class=Answer)
def usage(
    desk: AtDesk,
    tenant: OfTenant,
    group_by: GroupBy = None,
    start: From = None,
    end: To = None,
    metric_name: Annotated[str | None, Query(alias="metricName", description="Only of this metric.")] = None,
    customer_id: CustomerId = None,
    team_id: Annotated[str | None, Query(alias="teamId", description="Only of this team.")] = None,
    agent_id: Annotated[str | None, Query(alias="agentId", description="Only of this agent.")] = None,
    app_id: Annotated[str | None, Query(alias="appId", description="Only of this app.")] = None,
    product_type: Annotated[str | None, Query(alias="productType", description="Only of this type.")] = None,
    tool_name: Annotated[str | None, Query(alias="toolName", description="Only of this tool.")] = None,
    model: Annotated[str | None, Query(description="Only of this model.")] = None,
    status: Annotated[str | None, Query(alias="executionStatus", description="Only of this outcome.")] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Answer:
    """Usage added up by `groupBy` (`metricName` when there is none), net of corrections.

    Rows have the keys, `quantity` (null where a row has several metrics), `eventCount`, `providerCost` in US
    dollars, `revenue` at list price in `meta.currency`, and `unpricedCalls`, whose cost is unknown. Grouped by
    customerId they say who is `provisional`: not in the catalog, so nothing of it is billed yet.
    """
    only = {
        "metricName": metric_name,
        "customerId": customer_id,
        "teamId": team_id,
        "agentId": agent_id,
        "appId": app_id,
        "productType": product_type,
        "toolName": tool_name,
        "model": model,
        "executionStatus": status,
    }
    names = [name for text in group_by or ["metricName"] for name in text.split(",")]
    query = UsageQuery(
        tuple(dict.fromkeys(names)),
        {name: value for name, value in only.items() if value is not None},
        moment(start, "from"),
        moment(end, "to"),
    )
    found = desk.reading.usage(tenant.tenant_no, query, cursor=cursor, limit=limit)
    currency = desk.catalogs.catalog(tenant.tenant_no).currency
    return Answer(found["items"], nextCursor=found["nextCursor"], currency=currency)
