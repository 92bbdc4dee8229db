"""Errors that come from another process, as process pools and task queues bring them."""

from __future__ import annotations

import pickle

import pytest

from langchain_mcp_oauth import (
    ConnectionFailed,
    CredentialsRequired,
    MCPOAuthError,
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


def facts(error: Exception) -> dict[str, object]:
    """The attributes, those of errors within errors as well."""
    within = {name: (str(inner), facts(inner)) for name, inner in getattr(error, "errors", {}).items()}
    return {**vars(error), "errors": within}
