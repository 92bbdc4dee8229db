"""Errors that come from another process, as process pools and task queues bring them."""

from __future__ import annotations

import pickle

import pytest

from langchain_mcp_oauth import (
    ConnectionFailed,
    CredentialsRequired,
    MCPOAuthError,
    PersonRequired,
    ServersFailed,
    TokenEndpointError,
    ToolsChanged,
    UnknownServerError,
    UnsafeURLError,
)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionFailed("The server is down.", retry_after=7.0),
        ServersFailed({"a": ConnectionFailed("The server is down.", retry_after=7.0), "b": UnsafeURLError("Refused.")}),
        UnknownServerError("c", ["b", "a"]),
        ToolsChanged("c", {"a": "0" * 64}),
        CredentialsRequired(server="a", names=("KEY", "REGION"), descriptions=("from your settings", ""), reason="missing", attempt=2),
        TokenEndpointError("The code was refused.", oauth_error="invalid_grant"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_the_way_between_processes(error: MCPOAuthError) -> None:
    """Its type, its message and what a program reads from it."""
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert facts(arrived) == facts(error)


def test_what_is_asked_for_at_once_stays_together() -> None:
    """On the way between processes: each of the events, in order."""
    both = PersonRequired.together([needs_key("a"), needs_key("b")])
    arrived = pickle.loads(pickle.dumps(both))
    assert arrived.payload() == both.payload()
    assert [one["server"] for one in arrived.payload()["requests"]] == ["a", "b"]


def needs_key(server: str) -> CredentialsRequired:
    return CredentialsRequired(server=server, names=("KEY",), descriptions=("",), reason="missing")


def facts(error: Exception) -> dict[str, object]:
    """The attributes, those of errors within errors as well."""
    within = {name: (str(inner), facts(inner)) for name, inner in getattr(error, "errors", {}).items()}
    return {**vars(error), "errors": within}
