"""What users supply themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "mcp_oauth_credentials",
        sa.Column("user_id", sa.String, primary_key=True),
        sa.Column("server", sa.String, primary_key=True),
        sa.Column("url", sa.String, primary_key=True),
        sa.Column("sealed", sa.String, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
