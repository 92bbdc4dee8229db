"""Databases that several processes can use, each empty for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

POSTGRES = "LANGCHAIN_MCP_OAUTH_TEST_POSTGRES"

ON_POSTGRES = pytest.param("postgres", marks=pytest.mark.postgres)


@contextmanager
def postgres_schema() -> Iterator[str]:
    """URL of a schema of its own in the Postgres database that the environment names."""
    if POSTGRES not in os.environ:
        pytest.fail(f"{POSTGRES} is not set to the URL of a Postgres database")
    url, schema = make_url(os.environ[POSTGRES]).set(drivername="postgresql+psycopg"), f"test_{token_hex(6)}"
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    yield url.update_query_dict({"options": f"-csearch_path={schema}"}).render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()
