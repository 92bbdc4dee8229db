"""Tokens that are bound to a key (RFC 9449 §7): every request proves it, at the one place that carries tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey
from starlette.responses import JSONResponse, RedirectResponse, Response

from langchain_mcp_oauth.connections import Unauthorized
from langchain_mcp_oauth.models import Grant
from langchain_mcp_oauth.oauth.discovery import Discovery
from langchain_mcp_oauth.oauth.dpop import key_for
from langchain_mcp_oauth.servers.remote import MCPServer

from .mcp_servers import Peer, Seen

pytestmark = pytest.mark.anyio


def bound(peer: Peer) -> Grant:
    issuer = "https://as.example.com"
    discovery = Discovery(resource=peer.url, issuer=issuer, authorization_endpoint=f"{issuer}/a", token_endpoint=f"{issuer}/t")
    return replace(peer.grant("access-token-1"), dpop_key=key_for(MCPServer(peer.url, dpop=True), discovery, None))


def claims_of(seen: Seen) -> dict[str, Any]:
    header = jws.extract_compact(seen.headers["dpop"].encode()).headers()
    return jwt.decode(seen.headers["dpop"], ECKey.import_key(header["jwk"]), algorithms=["ES256"]).claims


def wants(nonce: str) -> Any:
    """Refuse requests whose proof has another nonce."""

    def rule(seen: Seen) -> Response | None:
        headers = {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', "DPoP-Nonce": nonce}
        return None if claims_of(seen).get("nonce") == nonce else JSONResponse({}, 401, headers)

    return rule


async def test_every_request_has_a_proof_of_its_own(peer: Peer, era: str) -> None:
    """§7.1, §4.3: the scheme is DPoP; method and URL are the request's, the hash is the token's, and no proof comes twice."""
    connection = peer.connection()
    await connection.list_tools(bound(peer))
    await connection.call_tool(bound(peer), "echo", {"text": "hello"})
    await peer.connections.close(peer.key())
    assert {seen.headers["authorization"] for seen in peer.front.seen} == {"DPoP access-token-1"}
    claims = [claims_of(seen) for seen in peer.front.seen]
    assert [one["htm"] for one in claims] == [seen.method for seen in peer.front.seen]
    assert {one["htu"] for one in claims} == {peer.url}
    assert len({one["jti"] for one in claims}) == len(claims)
    assert len({one["ath"] for one in claims}) == 1


async def test_the_servers_nonce(peer: Peer) -> None:
    """§9: the refused request again with the nonce, once, and the nonce in all that follow; nothing is carried out twice."""
    connection, grant = peer.connection(), bound(peer)
    await connection.call_tool(grant, "echo", {"text": "open"})
    peer.front.rules.insert(0, wants("n-1"))
    peer.front.forget()
    for text in ("first", "second"):
        await connection.call_tool(grant, "echo", {"text": text})
    assert [(seen.rpc, seen.status) for seen in peer.front.seen] == [("tools/call", 401), ("tools/call", 200), ("tools/call", 200)]
    peer.front.rules[0] = wants("n-2")
    await connection.call_tool(grant, "echo", {"text": "third"})
    assert peer.example.events == ["echo open", "echo first", "echo second", "echo third"]


async def test_a_refusal_is_still_one(peer: Peer) -> None:
    """A token that is refused with a nonce, and again with it, is refused."""
    connection, grant = peer.connection(), bound(peer)
    await connection.call_tool(grant, "echo", {"text": "open"})
    headers = {"WWW-Authenticate": 'DPoP error="invalid_token"', "DPoP-Nonce": "n-1"}
    peer.front.rules.insert(0, lambda _: JSONResponse({}, 401, headers))
    peer.front.forget()
    with pytest.raises(Unauthorized) as refused:
        await connection.call_tool(grant, "echo", {"text": "refused"})
    assert refused.value.challenge.dpop
    assert len(peer.front.seen) == 2
    assert peer.example.events == ["echo open"]


async def test_a_redirect_has_a_proof_of_its_own(peer: Peer) -> None:
    """The proof is for the URL that is asked."""
    connection, grant = peer.connection(), bound(peer)
    await connection.call_tool(grant, "echo", {"text": "open"})
    peer.front.rules.insert(0, lambda seen: RedirectResponse("/mcp/", 307) if seen.path == "/mcp" else JSONResponse({}, 401))
    peer.front.forget()
    with pytest.raises(Unauthorized):
        await connection.call_tool(grant, "echo", {"text": "elsewhere"})
    assert [claims_of(seen)["htu"] for seen in peer.front.seen] == [peer.url, f"{peer.url}/"]
