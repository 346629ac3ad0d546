"""Credentials as users see them: never with their secrets."""

from __future__ import annotations

from aforo_collector.domain.credential import Credential

from .wire import Wire, instant


def credential_view(credential: Credential, used_ns: int, now_ns: int) -> Wire:
    """A credential; what it does not have is null. `used_ns` is exact to a minute over a restart."""
    return {
        "id": credential.key_id,
        "name": credential.name or None,
        "type": credential.kind,
        "environment": credential.environment,
        "status": credential.status_at(now_ns).value,
        "scopes": sorted(credential.scopes),
        "customerId": credential.customer_id or None,
        "teamId": credential.team_id or None,
        "accessorType": credential.accessor_type or None,
        "accessorId": credential.accessor_id or None,
        "productType": credential.product_type or None,
        "rateLimitPerMinute": credential.rate_per_minute,
        "createdAt": instant(credential.created_ns),
        "expiresAt": instant(credential.expires_ns),
        "lastUsedAt": instant(used_ns),
    }
