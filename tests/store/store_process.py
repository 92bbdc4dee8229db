"""One of several processes at one database. When it is ready it says so; then each line on its standard input is a job,
`[database, operation, name]` in JSON, and each line it prints is the list of results.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from langchain_mcp_oauth.store import SQLModelTokenStore, schema
from langchain_mcp_oauth.store.keys import choose_keys

from .store_samples import ENCRYPTION_KEY, NOW, a_grant, a_request, minutes

TASKS = 5


async def open_requests(store: SQLModelTokenStore, name: str) -> list[str]:
    requests = [a_request(f"{name}-{task}") for task in range(TASKS)]
    opened = await asyncio.gather(*(store.open_request(request, now=NOW) for request in requests))
    return [request.auth_id for request in opened]


async def claim(store: SQLModelTokenStore, name: str) -> list[bool]:
    return await asyncio.gather(*(store.claim_request("auth-1", now=NOW, until=NOW + minutes(1)) for _ in range(TASKS)))


async def lease(store: SQLModelTokenStore, name: str) -> list[bool]:
    leases = await asyncio.gather(*(store.acquire_lease(("refresh", "x"), now=NOW, duration=minutes(1)) for _ in range(TASKS)))
    return [lease is not None for lease in leases]


async def count(store: SQLModelTokenStore, name: str) -> list[int]:
    return await asyncio.gather(*(store.count(("step-up", "x"), now=NOW, window=minutes(1)) for _ in range(TASKS)))


async def replace_grant(store: SQLModelTokenStore, name: str) -> list[bool]:
    saved = await asyncio.gather(*(store.save_grant(a_grant(access_token=name), replaces=int(name)) for _ in range(TASKS)))
    return [grant is not None for grant in saved]


async def save_grant(store: SQLModelTokenStore, name: str) -> list[bool]:
    saved = await asyncio.gather(*(store.save_grant(a_grant(access_token=name)) for _ in range(TASKS)))
    return [grant is not None for grant in saved]


async def make_key(store: SQLModelTokenStore, name: str) -> list[str]:
    """`name` is the directory of the key file."""
    chosen = choose_keys(None, make_url("sqlite:///x"), environ={}, directory=Path(name))
    assert callable(chosen)
    return list(chosen())


async def upgrade_tables(store: SQLModelTokenStore, name: str) -> list[int]:
    """`name` is the directory of the revisions; the version that each task found."""
    schema.MIGRATIONS = Path(name)
    found = await asyncio.gather(*(asyncio.to_thread(store._database.upgrade) for _ in range(TASKS)))
    return [before for before, _ in found]


async def main(database: str, operation: str, name: str) -> Any:
    store = SQLModelTokenStore(database, encryption_key=ENCRYPTION_KEY, migrate=True)
    try:
        return await globals()[operation](store, name)
    finally:
        await store.aclose()


if __name__ == "__main__":
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(asyncio.run(main(*json.loads(line)))), flush=True)
