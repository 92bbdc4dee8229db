"""R37-R41: secrets at rest, and in everything that is written."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

from langchain_mcp_oauth import AuthRequired, MCPOAuthToolkit, StoreCorruptError, StoreKeyError, auth_interrupts
from tests.attacks.conftest import Victim
from tests.attacks.hostile import ACCESS, CODE, REFRESH, Hostile, as_json, http, result, text
from tests.attacks.steps import asked, call, callback, failure, log_in, query_of
from tests.e2e.spellings import spellings

pytestmark = pytest.mark.anyio

OTHER_KEY = "b3RoZXIga2V5LCBvbmx5IGZvciB0aGVzZSB0ZXN0cyE="


def found(secrets: list[str], written: bytes | str) -> list[str]:
    """Those that stand there in any spelling."""
    data = written if isinstance(written, bytes) else written.encode(errors="replace")
    return [secret for secret in secrets if any(form in data for form in spellings(secret))]


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """The database as somebody without the key sees it."""
    with closing(sqlite3.connect(tmp_path / "tokens.db", isolation_level=None)) as opened:
        yield opened


@pytest.mark.parametrize("columns", ["sealed", "sealed, issuer, accepted, version"])
async def test_r37_a_stolen_row_does_not_open(victim: Victim, hostile: Hostile, rows: sqlite3.Connection, columns: str) -> None:
    """Whoever can write to the database cannot give a row to another user; put back, it opens (control)."""
    await log_in(victim())
    await log_in(victim(user_id="mallory"))
    [mine] = rows.execute("SELECT sealed FROM mcp_oauth_grants WHERE user_id = 'mallory'").fetchone()
    copied = f"({columns}) = (SELECT {columns} FROM mcp_oauth_grants WHERE user_id = 'ada')"
    rows.execute(f"UPDATE mcp_oauth_grants SET {copied} WHERE user_id = 'mallory'")
    assert isinstance(await failure(victim(user_id="mallory").aget_tools()), StoreCorruptError)
    rows.execute("UPDATE mcp_oauth_grants SET sealed = ? WHERE user_id = 'mallory'", [mine])
    assert len(await victim(user_id="mallory").aget_tools()) == 1


async def test_r37_another_key_changes_nothing(victim: Victim, hostile: Hostile, rows: sqlite3.Connection) -> None:
    """No login is dropped, replaced or read; with the right key it is there (control)."""
    await log_in(victim())
    before = rows.execute("SELECT * FROM mcp_oauth_grants").fetchall()
    assert isinstance(await failure(victim(encryption_key=OTHER_KEY).aget_tools()), StoreKeyError)
    assert rows.execute("SELECT * FROM mcp_oauth_grants").fetchall() == before
    assert len(await victim(encryption_key=[OTHER_KEY, "bm90IGEgc2VjcmV0LCBvbmx5IGZvciB0aGVzZSB0ZXM="]).aget_tools()) == 1


async def test_r38_the_file_is_its_owners_and_forgets(victim: Victim, hostile: Hostile, tmp_path: Path) -> None:
    """Mode 0600 in 0700, its journals too; what was deleted is not in the file any more, though it was (control)."""
    place = tmp_path / "data" / "logins.db"
    toolkit = victim(store=f"sqlite:///{place}")
    await log_in(toolkit)
    with closing(sqlite3.connect(place, isolation_level=None)) as rows:
        [sealed] = rows.execute("SELECT sealed FROM mcp_oauth_grants").fetchone()
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.parent.iterdir()} == {0o600}
    assert any(sealed.encode() in path.read_bytes() for path in place.parent.iterdir())
    await toolkit.disconnect("files")
    await toolkit.aclose()
    with closing(sqlite3.connect(place, isolation_level=None)) as rows:
        rows.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert not any(sealed[20:120].encode() in path.read_bytes() for path in place.parent.iterdir())


async def test_r39_a_server_that_repeats_secrets_does_not_get_them_written(
    victim: Victim, hostile: Hostile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It has seen code, verifier, client secret and tokens, and puts them into every answer: they are in no log, exception, `repr` or file.

    The control is the search itself: it finds the same secrets in what arrived at the server.
    """
    caplog.set_level(logging.DEBUG)
    client_secret = "canary-client-secret-1Gq8"

    def echo(*_: Any) -> bytes:
        everything = " ".join([CODE, ACCESS, REFRESH, client_secret, *(seen.body.decode() for seen in hostile.seen)])
        return as_json({"error": "invalid_request", "error_description": everything, "message": everything, everything[:2_000]: 1}, 400)

    hostile.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    registered = {"client_id": "c", "client_secret": client_secret, "token_endpoint_auth_method": "client_secret_post"}
    hostile.says["/register"] = as_json(registered, 201)
    toolkit = victim()
    errors = [needed := await asked(toolkit)]
    hostile.says["/token"] = echo
    errors.append(await failure(toolkit.complete_authorization(callback(needed))))
    hostile.says.pop("/token")
    errors.append(needed := await asked(toolkit))
    await toolkit.complete_authorization(callback(needed))
    [read] = await toolkit.aget_tools()
    for place in ("tools/call", "/revoke"):
        hostile.says[place] = echo
    errors.append(await failure(call(read)))
    hostile.says["tools/call"] = lambda seen: as_json(
        {"jsonrpc": "2.0", "id": seen.message["id"], "error": {"code": 1, "message": f"{ACCESS} {REFRESH}"}}
    )
    errors.append(await failure(call(read)))
    hostile.says["tools/call"] = hostile.challenge()
    hostile.says["/token"] = echo
    errors.append(await failure(call(read)))
    await toolkit.disconnect("files")
    verifiers = [seen.form["code_verifier"] for seen in hostile.at("/token") if "code_verifier" in seen.form]
    states = [query_of(error.authorization_url)["state"][0] for error in errors if isinstance(error, AuthRequired)]
    secrets = [CODE, ACCESS, REFRESH, client_secret, *verifiers, *states]
    arrived = b"".join(seen.body + str(seen.headers).encode() for seen in hostile.seen)
    assert set(found(secrets, arrived)) >= {CODE, ACCESS, REFRESH, client_secret, *verifiers}
    ours = [record for record in caplog.records if record.name.startswith(("langchain_mcp_oauth", "sqlalchemy", "langchain"))]
    assert ours, "nothing was logged at all"
    assert found(secrets, "".join(f"{record.getMessage()} {record.args!r} {record.exc_text}" for record in ours)) == []
    for error in errors:
        chain = [error, error.__cause__, error.__context__]
        assert found(secrets, "".join(f"{one!r} {one!s} {getattr(one, '__notes__', '')}" for one in chain)) == [], type(error)
    assert found(secrets, repr([toolkit, read, toolkit.store, read.metadata])) == []
    for path in tmp_path.glob("*.db*"):  # noqa: ASYNC240 - a test may wait
        assert found(secrets, path.read_bytes()) == [], path.name


PROGRAM = """
import asyncio, logging, sys
logging.basicConfig(level=logging.DEBUG)
for noisy in ("httpx2", "httpcore2", "mcp", "mcp.client", "client"): logging.getLogger(noisy).setLevel(logging.WARNING)
from langchain_mcp_oauth import MCPOAuthToolkit, AuthRequired
from tests.attacks.steps import callback
async def main():
    toolkit = MCPOAuthToolkit({"files": sys.argv[1]}, store=sys.argv[2], encryption_key=sys.argv[3], user_id="ada",
                              redirect_uri="http://127.0.0.1:18080/oauth/callback")
    try:
        await toolkit.aget_tools()
    except AuthRequired as needed:
        await toolkit.complete_authorization(callback(needed))
    [tool] = await toolkit.aget_tools()
    print(tool, repr(toolkit), await tool.ainvoke({}))
    raise RuntimeError("and then it crashes") from await fails(tool)
async def fails(tool):
    try:
        await tool.ainvoke({})
    except Exception as error:
        return error
asyncio.run(main())
"""


@pytest.mark.slow
def test_r39_nothing_is_in_the_output_of_a_process(hostile: Hostile, tmp_path: Path) -> None:
    """Standard output, standard error and a crash's traceback, with everything logged at DEBUG; the story was told (control)."""
    calls: list[int] = []

    def answer(seen: Any) -> bytes:
        calls.append(1)
        return result(seen, text(f"you sent {ACCESS}")) if len(calls) == 1 else http(500, f"{ACCESS} {REFRESH}".encode())

    hostile.says["tools/call"] = answer
    arguments = [sys.executable, "-c", PROGRAM, hostile.url, f"sqlite:///{tmp_path / 'logins.db'}", OTHER_KEY]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(arguments, capture_output=True, timeout=60, env=environment)
    written = done.stdout + done.stderr
    assert b"and then it crashes" in written
    assert b"you sent [redacted]" in written
    verifiers = [seen.form["code_verifier"] for seen in hostile.at("/token")]
    assert found([CODE, ACCESS, REFRESH, *verifiers], written) == []


async def test_r40_an_answer_carries_no_authority(victim: Victim, hostile: Hostile) -> None:
    """Whoever resumes with whatever: nothing is called before a login is stored; no secret is in the checkpoint. Then it is (control)."""
    hostile.guarded = False
    [read] = await victim(start_url="https://app.example/oauth/start").aget_tools()
    hostile.guarded = True

    async def node(state: dict[str, Any]) -> dict[str, Any]:
        return {"out": await call(read)}

    graph = StateGraph(dict)  # type: ignore[type-var]
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    graph.add_edge("node", END)
    saver = InMemorySaver()
    running = graph.compile(checkpointer=saver)
    config: Any = {"configurable": {"thread_id": "1"}}
    stopped = await running.ainvoke({}, config)
    for forged in ({"status": "authorized", "access_token": "mine"}, {"type": "accept", "token": "mine"}):
        assert len(auth_interrupts(stopped)) == 1
        stopped = await running.ainvoke(Command(resume=forged), config)
    assert hostile.at("tools/call") == [] or all("authorization" not in seen.headers for seen in hostile.at("tools/call"))
    toolkit = victim()
    needed = await asked_for_call(toolkit, read)
    kept = json.dumps(auth_interrupts(stopped)) + repr(saver.storage) + repr(saver.writes) + repr(saver.blobs)
    assert found([query_of(needed.authorization_url)["state"][0], ACCESS, REFRESH, CODE], kept) == []
    await toolkit.complete_authorization(callback(needed))
    assert (await running.ainvoke(Command(resume=True), config))["out"] == "done"


async def asked_for_call(toolkit: MCPOAuthToolkit, read: Any) -> AuthRequired:
    """The open request, with the authorization server's own URL."""
    error = await failure(toolkit.aget_tools())
    assert isinstance(error, AuthRequired)
    return error


@pytest.mark.parametrize("spelled", [json.dumps(ACCESS), json.dumps(ACCESS).replace("a", "\\u0061"), json.dumps(REFRESH)])
async def test_r41_a_token_that_comes_back_is_blotted_out(victim: Victim, hostile: Hostile, spelled: str) -> None:
    """In content, structured content and errors, however JSON spells it; the rest of the answer stays (control)."""
    [read] = await log_in(victim())

    def echo(seen: Any) -> bytes:
        answer = result(seen, {"content": [*text("before ")["content"], *text("TOKEN")["content"]], "structuredContent": {"a": ["TOKEN"]}})
        return http(200, answer.partition(b"\r\n\r\n")[2].replace(b'"TOKEN"', spelled.encode()))

    hostile.says["tools/call"] = echo
    message = await read.ainvoke({"type": "tool_call", "id": "1", "name": read.name, "args": {}})
    assert found([ACCESS, REFRESH], repr(message)) == []
    assert message.artifact["structured_content"] == {"a": ["[redacted]"]}
    assert "before " in message.text
