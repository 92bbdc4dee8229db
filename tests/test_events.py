"""What happened is said once, from one source, to the hook, to logs and to OpenTelemetry: never a secret, never in the way."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from mcp.shared.dispatcher import ProgressFnT
from opentelemetry import baggage
from opentelemetry.context import attach, detach
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from langchain_mcp_oauth import (
    AuthorizationCompleted,
    AuthorizationDenied,
    AuthorizationFailed,
    AuthorizationRequested,
    AuthRequired,
    CallFinished,
    Disconnected,
    Event,
    MCPOAuthToolkit,
    Refreshed,
    events,
)
from langchain_mcp_oauth.connections.call import Call
from langchain_mcp_oauth.events import Events, user_hash
from langchain_mcp_oauth.models import Grant, GrantKey
from langchain_mcp_oauth.testing import Person, ProtectedServer

pytestmark = pytest.mark.anyio

KEY = "bm90IGEgc2VjcmV0LCBvbmx5IGZvciB0aGVzZSB0ZXM="


@pytest.fixture(scope="module")
def server() -> Iterator[ProtectedServer]:
    with ProtectedServer() as running:
        yield running


@pytest.fixture
def heard() -> list[Event]:
    return []


@pytest.fixture
async def toolkit(server: ProtectedServer, tmp_path: Path, heard: list[Event]) -> AsyncIterator[MCPOAuthToolkit]:
    async with MCPOAuthToolkit(
        {"demo": server.url},
        store=f"sqlite:///{tmp_path / 'tokens.db'}",
        encryption_key=KEY,
        redirect_uri="https://app.example/oauth/callback",
        user_id="ada",
        allowed_private_hosts=server.allowed_private_hosts,
        on_event=heard.append,
    ) as toolkit:
        yield toolkit


async def log_in(toolkit: MCPOAuthToolkit) -> None:
    needed = await toolkit.begin_authorization("demo")
    assert needed
    await needed.complete(await Person("ada").aapprove(needed.authorization_url))


async def whoami(toolkit: MCPOAuthToolkit) -> None:
    await toolkit.call_tool("ada", "demo", "whoami", {})


def without_calls(heard: list[Event]) -> list[type[Event]]:
    return [type(event) for event in heard if not isinstance(event, CallFinished)]


async def test_a_logins_life(toolkit: MCPOAuthToolkit, server: ProtectedServer, heard: list[Event]) -> None:
    """Asked for once, however many need it; completed; refreshed; ended. Each says whose and where."""
    outcomes = await asyncio.gather(*(whoami(toolkit) for _ in range(5)), return_exceptions=True)
    [needed] = {error.auth_id: error for error in outcomes if isinstance(error, AuthRequired)}.values()
    await needed.complete(await Person("ada").aapprove(needed.authorization_url))
    await whoami(toolkit)
    server.expire_tokens()
    await whoami(toolkit)
    await toolkit.disconnect("demo")
    assert without_calls(heard) == [AuthorizationRequested, AuthorizationCompleted, Refreshed, Disconnected]
    assert {(event.server, event.user_id) for event in heard} == {("demo", "ada")}
    asked = next(event for event in heard if isinstance(event, AuthorizationRequested))
    assert (asked.auth_id, asked.authorization_url, asked.reason) == (needed.auth_id, needed.authorization_url, "login")
    calls = [event for event in heard if isinstance(event, CallFinished)]
    assert [call.error for call in calls] == ["auth_required"] * 5 + [None, None]
    assert all(call.seconds > 0 and call.method == "tools/call" and call.tool == "whoami" for call in calls)


async def test_a_refusal(toolkit: MCPOAuthToolkit, heard: list[Event]) -> None:
    """Denied, with the error code."""
    needed = await toolkit.begin_authorization("demo")
    assert needed
    with pytest.raises(AuthorizationDenied):
        await needed.complete(await Person("ada").adeny(needed.authorization_url))
    failed = heard[-1]
    assert isinstance(failed, AuthorizationFailed)
    assert (failed.denied, failed.error, failed.auth_id) == (True, "access_denied", needed.auth_id)


async def test_a_refresh_that_is_refused(toolkit: MCPOAuthToolkit, server: ProtectedServer, heard: list[Event]) -> None:
    """With the error code; then the person is asked."""
    await log_in(toolkit)
    await whoami(toolkit)
    server.revoke_all()
    with pytest.raises(AuthRequired):
        await whoami(toolkit)
    [refreshed] = [event for event in heard if isinstance(event, Refreshed)]
    assert refreshed.error == "invalid_grant"
    assert without_calls(heard)[-1] is AuthorizationRequested


async def test_a_tools_own_failure(toolkit: MCPOAuthToolkit, heard: list[Event]) -> None:
    """`tool_error`, as the semantic conventions call it."""
    await log_in(toolkit)
    await toolkit.call_tool("ada", "demo", "fail", {"message": "broken"})
    last = heard[-1]
    assert isinstance(last, CallFinished)
    assert last.error == "tool_error"


async def test_a_hook_that_fails_or_hangs_breaks_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, without the exception's words, and the next event is given all the same."""
    given: list[str] = []

    async def hook(event: Event) -> None:
        given.append(event.server)
        if event.server == "raises":
            raise RuntimeError("CANARY")
        if event.server == "hangs":
            await asyncio.Event().wait()

    monkeypatch.setattr(events, "HOOK_SECONDS", 0.05)
    bus = Events(hook)
    for name in ("raises", "hangs", "works"):
        bus.note(Disconnected(server=name, user_id="ada", issuer="https://as.example", revoked=True))
    await bus.flush()
    assert given == ["raises", "hangs", "works"]
    failures = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [failure.partition("(")[2] for failure in failures] == ["RuntimeError).", "TimeoutError)."]
    assert "CANARY" not in caplog.text


async def test_nothing_is_kept_where_nobody_listens() -> None:
    """And what waits for a hook is bounded."""
    event = Disconnected(server="demo", user_id="ada", issuer="https://as.example", revoked=True)
    silent, bounded = Events(), Events(lambda _: None)
    for _ in range(events.KEPT + 1):
        silent.note(event)
        bounded.note(event)
    assert (len(silent.pending), len(bounded.pending)) == (0, events.KEPT)


async def test_logs_say_what_happened_and_no_secret(
    toolkit: MCPOAuthToolkit, caplog: pytest.LogCaptureFixture, server: ProtectedServer
) -> None:
    """Server, user hash and `auth_id`, in words and as fields; neither the user's name, nor a token, nor the URL with its state."""
    caplog.set_level(logging.DEBUG, "langchain_mcp_oauth")
    await log_in(toolkit)
    await whoami(toolkit)
    grant = await toolkit.store.load_grant(GrantKey("ada", "demo", server.url))
    assert grant
    ours = [record for record in caplog.records if record.name == "langchain_mcp_oauth.events"]
    fields: list[dict[str, Any]] = [record.mcp_oauth for record in ours]  # type: ignore[attr-defined]
    assert [field["event"] for field in fields] == ["authorization.requested", "authorization.completed", "call.finished"]
    assert {field["user.hash"] for field in fields} == {user_hash("ada")}
    assert f"auth_id={fields[0]['mcp_oauth.auth_id']}" in ours[0].getMessage()
    assert [secret for secret in secrets_of(grant) if secret in caplog.text or secret in str(fields)] == []
    assert "state=" not in caplog.text


def secrets_of(grant: Grant) -> list[str]:
    found = (grant.tokens.access_token, grant.tokens.refresh_token, grant.client.client_secret)
    return [secret.get_secret_value() for secret in found if secret is not None]


@pytest.mark.parametrize("way", ["async", "sync"])
async def test_langchains_callbacks_hear_that_a_person_is_needed(toolkit: MCPOAuthToolkit, server: ProtectedServer, way: str) -> None:
    """As the custom event `mcp_auth_required`, without the URL; of a call with its server among the tags, and what MCP says of the tool."""
    heard = Listener()
    await log_in(toolkit)
    whoami = next(tool for tool in await toolkit.aget_tools() if tool.name == "demo__whoami")
    await toolkit.disconnect("demo")
    calls = {"async": whoami.ainvoke, "sync": partial(asyncio.to_thread, whoami.invoke)}
    with pytest.raises(AuthRequired):
        await calls[way]({}, {"callbacks": [heard]})
    [(name, data)] = heard.events
    [(tags, metadata)] = heard.calls
    assert (tags, metadata["mcp"]["server"]["name"]) == (["mcp", "demo"], "Example")
    assert name == "mcp_auth_required"
    assert (data["server"], data["reason"], data["tool_name"]) == ("demo", "login", "demo__whoami")
    assert "http" not in str({key: value for key, value in data.items() if key != "issuer"})


class Listener(BaseCallbackHandler):
    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.calls: list[tuple[list[str] | None, dict[str, Any]]] = []

    def on_tool_start(self, serialized: dict[str, Any], input_str: str, *, tags: Any = None, metadata: Any = None, **_: Any) -> None:
        self.calls.append((tags, metadata))

    def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **_: Any) -> None:
        self.events.append((name, data))


def test_a_repr_does_not_show_the_url() -> None:
    """It holds the request's state."""
    event = AuthorizationRequested(
        server="demo",
        user_id="ada",
        auth_id="1",
        issuer="https://as.example",
        scopes=(),
        reason="login",
        authorization_url="https://as.example/authorize?state=CANARY",
        expires_at=events.datetime.now(),
    )
    assert "CANARY" not in repr(event)
    assert "CANARY" not in str(event.attributes())


PROGRAM = """
import asyncio, json, sys
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from langchain_mcp_oauth import MCPOAuthToolkit
from langchain_mcp_oauth.testing import Person, ProtectedServer

spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)
metrics.set_meter_provider(MeterProvider([reader]))

async def main():
    with ProtectedServer() as server:
        async with MCPOAuthToolkit({"demo": server.url}, store=sys.argv[1], encryption_key=sys.argv[2], user_id="ada",
                                   redirect_uri="https://app.example/cb", allowed_private_hosts=server.allowed_private_hosts) as toolkit:
            needed = await toolkit.begin_authorization("demo")
            await needed.complete(await Person("ada").aapprove(needed.authorization_url))
            with trace.get_tracer("app").start_as_current_span("the agent's step"):
                await toolkit.call_tool("ada", "demo", "whoami", {})
            server.expire_tokens()
            await toolkit.call_tool("ada", "demo", "whoami", {})

asyncio.run(main())
finished = spans.get_finished_spans()
names = {s.context.span_id: s.name for s in finished}
seen = [[s.name, dict(s.attributes), names.get(s.parent.span_id) if s.parent else None, s.end_time - s.start_time, s.kind.name]
        for s in finished if s.instrumentation_scope.name in ("langchain_mcp_oauth", "mcp-python-sdk")]
points = [(m.name, dict(p.attributes)) for r in reader.get_metrics_data().resource_metrics for s in r.scope_metrics
          if s.scope.name == "langchain_mcp_oauth" for m in s.metrics for p in m.data.data_points]
print(json.dumps({"ours": [one for one in seen if one[4] == "CLIENT"], "theirs": [one for one in seen if one[4] == "SERVER"],
                  "metrics": points}))
"""


@pytest.mark.slow
def test_spans_and_metrics(tmp_path: Path) -> None:
    """With an SDK: a span for each event, below the caller's; a refresh below the call that needed it, and so is what the server does, as
    the trace goes along (SEP-414); metrics by server and method, without people; no secret anywhere.

    In a process of its own, as a provider is set once for a process.
    """
    command = [sys.executable, "-c", PROGRAM, f"sqlite:///{tmp_path / 'tokens.db'}", KEY]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout.splitlines()[-1])
    assert [(name, parent) for name, _, parent, *_ in seen["ours"]] == [
        ("mcp_oauth authorization.requested", None),
        ("mcp_oauth authorization.completed", None),
        ("tools/call whoami", "the agent's step"),
        ("mcp_oauth token.refreshed", "tools/call whoami"),
        ("tools/call whoami", None),
    ]
    at_the_server = [(name, parent) for name, _, parent, *_ in seen["theirs"] if name == "tools/call whoami"]
    assert at_the_server == [("tools/call whoami", "tools/call whoami")] * 2
    _, attributes, _, nanoseconds, _ = seen["ours"][2]
    assert nanoseconds > 0
    assert attributes == {
        "mcp_oauth.server": "demo",
        "user.hash": user_hash("ada"),
        "mcp.method.name": "tools/call",
        "gen_ai.tool.name": "whoami",
        "gen_ai.operation.name": "execute_tool",
    }
    measured = {name for name, _ in seen["metrics"]}
    assert measured == {"mcp.client.operation.duration", "mcp_oauth.refresh.duration", "mcp_oauth.authorization.wait", "mcp_oauth.events"}
    assert not [point for _, point in seen["metrics"] if "user.hash" in point]
    assert "state=" not in ran.stdout


async def _nothing(progress: float, total: float | None, message: str | None) -> None: ...


@pytest.mark.parametrize("on_progress", [None, _nothing])
def test_a_trace_goes_along_and_baggage_does_not(on_progress: ProgressFnT | None) -> None:
    """SEP-414's `traceparent` beside what is in `_meta`; the application's baggage is not for other people's servers."""
    span = NonRecordingSpan(SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(1)))
    token = attach(baggage.set_baggage("customer", "CANARY", set_span_in_context(span)))
    try:
        message = Call(7, "tools/call", {}, on_progress).message({"name": "t", "_meta": {"own": 1}})
    finally:
        detach(token)
    expected = {"own": 1, "traceparent": f"00-{0xA:032x}-{0xB:016x}-01", **({"progressToken": 7} if on_progress else {})}
    assert message["params"] == {"name": "t", "_meta": expected}


def test_where_nothing_is_traced_nothing_goes_along() -> None:
    """Not even an empty `_meta`."""
    assert Call(7, "tools/list", {}, None).message(None) == {"jsonrpc": "2.0", "id": 7, "method": "tools/list"}
