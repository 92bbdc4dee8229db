"""What servers listed, and to whom."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "mcp_oauth_documents",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("sealed", sa.String, nullable=False),
    )
    op.create_table(
        "mcp_oauth_listings",
        sa.Column("user_id", sa.String, primary_key=True),
        sa.Column("server", sa.String, primary_key=True),
        sa.Column("url", sa.String, primary_key=True),
        sa.Column("digest", sa.String, nullable=False, index=True),
        sa.Column("listed_at", TIME, nullable=False),
        sa.Column("fresh_until", TIME, nullable=False),
        sa.Column("public", sa.Boolean, nullable=False),
    )
