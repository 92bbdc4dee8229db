"""An MCP server on loopback whose tokens come from oidc-provider, which it asks about each of them (RFC 7662)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from mcp.server.auth.provider import AccessToken, TokenVerifier
from starlette.applications import Starlette
from starlette.routing import Mount

from langchain_mcp_oauth.testing.example_tools import add_example_tools
from langchain_mcp_oauth.testing.guard import Era, Guard, guarded, make_mcp_server, resource_routes
from langchain_mcp_oauth.testing.observed import Observer, SeenRequest
from langchain_mcp_oauth.testing.serving import ServerThread, listen, origin

PROVIDER = Path(__file__).with_name("provider.mjs")
SCOPES = ("tools",)
OPTIONAL_SCOPES = ("math",)


@dataclass(frozen=True)
class Site:
    """The two servers."""

    url: str
    issuer: str
    guard: Guard
    requests: list[SeenRequest]
    """What reached the MCP server."""

    @property
    def allowed_private_hosts(self) -> frozenset[str]:
        return frozenset({self.issuer.removeprefix("http://")})

    def introspect(self, token: str) -> dict[str, Any]:
        """What the authorization server says of a token."""
        credentials = ("mcp-server", "only for these tests")
        answer = httpx2.post(f"{self.issuer}/token/introspection", data={"token": token}, auth=credentials, trust_env=False)
        document: dict[str, Any] = answer.raise_for_status().json()
        return document


class _Introspection(TokenVerifier):
    def __init__(self, issuer: str) -> None:
        self._endpoint = f"{issuer}/token/introspection"
        self._credentials = ("mcp-server", "only for these tests")

    async def verify_token(self, token: str) -> AccessToken | None:
        async with httpx2.AsyncClient(trust_env=False, auth=self._credentials) as client:
            answer = await client.post(self._endpoint, data={"token": token})
        said = answer.raise_for_status().json()
        if not said["active"]:
            return None
        scopes = said["scope"].split()
        return AccessToken(token=token, client_id=said["client_id"], scopes=scopes, resource=said["aud"], subject=said["sub"])


@contextmanager
def guarded_by_provider(node: str, era: Era) -> Iterator[Site]:
    """Both servers, from `with` to the end of its block."""
    listener = listen()
    url = f"{origin(listener)}/mcp"
    with _provider(node, url) as issuer:
        mcp = make_mcp_server("Example")
        add_example_tools(mcp)
        app = mcp.streamable_http_app()
        guard = Guard(app, resource=url, scopes=SCOPES, anonymous=frozenset(), era=era)
        routes = [
            *resource_routes(url, issuer, name="Example", scopes=SCOPES),
            Mount("/", guarded(guard, _Introspection(issuer), resource=url)),
        ]
        requests: list[SeenRequest] = []
        served = Observer(Starlette(routes=routes, lifespan=app.router.lifespan_context), requests)
        thread = ServerThread([(served, listener)])
        thread.start()
        try:
            yield Site(url, issuer, guard, requests)
        finally:
            thread.stop()


@contextmanager
def _provider(node: str, resource: str) -> Iterator[str]:
    """The running provider's issuer."""
    command = [node, str(PROVIDER), resource, *SCOPES, *OPTIONAL_SCOPES]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
