"""Tools as they were first seen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "mcp_oauth_pins",
        sa.Column("user_id", sa.String, primary_key=True),
        sa.Column("server", sa.String, primary_key=True),
        sa.Column("url", sa.String, primary_key=True),
        sa.Column("sealed", sa.String, nullable=False),
    )
