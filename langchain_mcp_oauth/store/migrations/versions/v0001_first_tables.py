"""Grants, authorization requests, clients, leases and counters."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "mcp_oauth_grants",
        sa.Column("user_id", sa.String, primary_key=True),
        sa.Column("server", sa.String, primary_key=True),
        sa.Column("url", sa.String, primary_key=True),
        sa.Column("sealed", sa.String, nullable=False),
        sa.Column("issuer", sa.String, nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("accepted", sa.Boolean, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "mcp_oauth_requests",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("sealed", sa.String, nullable=False),
        sa.Column("auth_id", sa.String, nullable=False, unique=True),
        sa.Column("state_hash", sa.String, nullable=False, unique=True),
        sa.Column("user_id", sa.String, nullable=False, index=True),
        sa.Column("server", sa.String, nullable=False),
        sa.Column("url", sa.String, nullable=False),
        sa.Column("issuer", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("redeeming_until", TIME),
    )
    pending = sa.text("status = 'pending'")
    op.create_index(
        "mcp_oauth_one_pending_request",
        "mcp_oauth_requests",
        ["user_id", "server", "url"],
        unique=True,
        sqlite_where=pending,
        postgresql_where=pending,
    )
    op.create_table(
        "mcp_oauth_clients",
        sa.Column("issuer", sa.String, primary_key=True),
        sa.Column("redirect_uri", sa.String, primary_key=True),
        sa.Column("url", sa.String, primary_key=True),
        sa.Column("sealed", sa.String, nullable=False),
        sa.Column("client_id", sa.String, nullable=False),
    )
    op.create_table(
        "mcp_oauth_leases",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("until", TIME, nullable=False),
    )
    op.create_table(
        "mcp_oauth_counters",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.Integer, nullable=False),
        sa.Column("until", TIME, nullable=False),
    )
