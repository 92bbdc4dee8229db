"""What Alembic runs. The connection and its transaction are our caller's: all revisions, or none."""

from __future__ import annotations

from alembic import context

from langchain_mcp_oauth.store.schema import VERSION
from langchain_mcp_oauth.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION.name,
)
with context.begin_transaction():
    context.run_migrations()
