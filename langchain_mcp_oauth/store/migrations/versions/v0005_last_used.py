"""When a login was last used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("mcp_oauth_grants", sa.Column("used_at", sa.DateTime(timezone=True), nullable=True))
