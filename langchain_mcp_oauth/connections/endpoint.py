"""A server's MCP endpoint, as one session uses it: what goes on every HTTP request, and what the answer's status and headers mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import anyio
import httpx2
from pydantic_core import to_json

from langchain_mcp_oauth.errors import ConnectionFailed, MCPOAuthError, ProtocolError
from langchain_mcp_oauth.http import is_certificate_error, place_of, read_body
from langchain_mcp_oauth.models import BearerChallenge, Grant
from langchain_mcp_oauth.oauth.answers import is_visible_ascii, retry_after
from langchain_mcp_oauth.oauth.challenge import read_challenge
from langchain_mcp_oauth.oauth.dpop import add_proof, nonce_of

__all__ = [
    "BACKGROUND",
    "END_OF_ANSWER",
    "EVENTS",
    "JSON",
    "MAX_JSON",
    "Endpoint",
    "Refused",
    "ServerTrouble",
    "SessionExpired",
    "Unauthorized",
    "discard",
    "media_type",
    "read_trouble",
    "same_origin",
]

MAX_JSON = 4 * 1024 * 1024
"""Bytes of a JSON answer."""

MAX_REDIRECTS = 5
"""Of one request, all within the server's origin."""

CONNECT_PAUSES = (0.5, 1.0)
"""Seconds before a second and a third attempt to connect to a server that refuses, is unreachable or has no address at the moment."""

END_OF_ANSWER = 0.05
"""Seconds to wait for the end of an answer of which all that matters is known."""

MAX_DISCARDED = 64 * 1024
"""Bytes to read for that."""

BACKGROUND = 1.0
"""Seconds for what nobody waits for: taking leave, and saying that a request is cancelled."""

JSON = "application/json"
EVENTS = "text/event-stream"

_SESSION_ID = "mcp-session-id"


class Refused(Exception):
    """The server has refused a request before it did anything about it. Private: the library's own code decides what comes next."""


class Unauthorized(Refused):
    """401, or 403 `insufficient_scope`.

    Attributes:
        challenge: What the server asks for.
        grant: What the request was sent with; None: without a token.
    """

    def __init__(self, challenge: BearerChallenge, grant: Grant | None) -> None:
        super().__init__(f"The MCP server answered {challenge.status}.")
        self.challenge = challenge
        self.grant = grant


class SessionExpired(Refused):
    """404 to a request of a session: the server does not know it any more (2025-11-25, session management)."""


class ServerTrouble(ConnectionFailed):
    """The server was reached, and answered 429 or 5xx."""


class Endpoint:
    """One session's way to the server.

    Args:
        client: From `guarded_client`; shared by everybody.
        url: As configured. Redirects are followed within its origin, and the bearer token goes no further (R7).
        headers: The operator's own, for every request.
        query: The operator's own, added to every URL.
        secrets: Beside the tokens, what must not come back in an answer.
        current_grant: Asked when a request starts.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient,
        url: str,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        query: Mapping[str, str] = MappingProxyType({}),
        secrets: Sequence[str] = (),
        current_grant: Callable[[], Grant | None] = lambda: None,
    ) -> None:
        self.place = place_of(httpx2.URL(url))
        """The origin, for messages."""
        self.current_grant = current_grant
        self.url = url
        self._secrets = secrets
        self._client = client
        self._url = httpx2.URL(url).copy_merge_params(query) if query else httpx2.URL(url)
        self._headers = {name.lower(): value for name, value in headers.items()}
        self._session_id: str | None = None
        self._nonce: str | None = None
        """What DPoP proofs must have."""

    async def send(self, method: str, headers: Mapping[str, str], body: bytes | None = None) -> httpx2.Response:
        """Send one request; the caller reads the answer, whatever its status, and closes it.

        Args:
            method: `POST`, `GET` or `DELETE`.
            headers: Of this message, names in lower case.
            body: A JSON-RPC message.

        Raises:
            Unauthorized, SessionExpired: nothing was done.
            httpx2.TransportError, UnsafeURLError: as `guarded_client`.
        """
        grant = self.current_grant()
        request = httpx2.Request(method, self._url, headers=self._all_headers(headers, grant), content=body)
        response = await self._send_as(grant, request)
        for _ in range(MAX_REDIRECTS):
            following = self._redirect(response)
            if following is None:
                break
            await discard(response)
            response = await self._send_as(grant, following)
        refusal = self._refusal(response, grant)
        if refusal is not None:
            await discard(response)
            raise refusal
        return response

    async def post_quietly(self, message: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """Send what the caller is not to hear of again, neither of trouble nor of a wish for authorization."""
        with suppress(httpx2.TransportError, MCPOAuthError, Refused):
            await discard(await self.send("POST", headers, to_json(message)))

    def secrets(self) -> list[str]:
        """What requests are authorized with: a server that repeats it in an answer is not heard."""
        grant = self.current_grant()
        tokens = (grant.tokens.access_token, grant.tokens.refresh_token) if grant is not None else ()
        return [*self._secrets, *(token.get_secret_value() for token in tokens if token is not None)]

    def begin_session(self, response: httpx2.Response) -> None:
        """Take the session id from the answer to `initialize`, if there is one (2025-11-25, session management).

        Raises:
            ProtocolError: it is not visible ASCII, or too long.
        """
        session_id = response.headers.get(_SESSION_ID)
        if session_id is not None and not is_visible_ascii(session_id, 1_024):
            raise ProtocolError(f"{self.place} gave a session id that is not 1 to 1,024 characters of visible ASCII.")
        self._session_id = session_id

    async def end_session(self, headers: Mapping[str, str]) -> None:
        """DELETE the session, if there is one: best effort, at most a second. Never raises, never asks anybody."""
        if self._session_id is None:
            return
        with anyio.move_on_after(BACKGROUND), suppress(httpx2.TransportError, MCPOAuthError, Refused):
            await discard(await self.send("DELETE", headers))  # whatever it says; 405: this server ends its sessions itself
        self._session_id = None

    def _all_headers(self, headers: Mapping[str, str], grant: Grant | None) -> dict[str, str]:
        """The operator's headers first: what the protocol and the login set is not theirs to change."""
        every = {**self._headers, "accept": f"{JSON}, {EVENTS}", "content-type": JSON, **headers}
        if self._session_id is not None:
            every[_SESSION_ID] = self._session_id
        if grant is not None:
            scheme = "Bearer" if grant.dpop_key is None else "DPoP"
            every["authorization"] = f"{scheme} {grant.tokens.access_token.get_secret_value()}"
        return every

    async def _send_as(self, grant: Grant | None, request: httpx2.Request) -> httpx2.Response:
        """Send it, with a proof where the token is bound to a key; once more with the server's nonce if it wants one (RFC 9449 §9)."""
        if grant is None or grant.dpop_key is None:
            return await self._send_once(request)
        sent = self._nonce
        token = grant.tokens.access_token
        response = await self._send_once(add_proof(request, grant.dpop_key, nonce=sent, access_token=token))
        self._nonce = nonce_of(response) or sent
        if response.status_code != 401 or self._nonce == sent:
            return response
        await discard(response)
        return await self._send_once(add_proof(request, grant.dpop_key, nonce=self._nonce, access_token=token))

    async def _send_once(self, request: httpx2.Request) -> httpx2.Response:
        """Connecting is tried again, sending never: before there is a connection the server has seen nothing."""
        for pause in CONNECT_PAUSES:
            try:
                return await self._client.send(request, stream=True, follow_redirects=False)
            except httpx2.ConnectError as error:
                if is_certificate_error(error):
                    raise
            await anyio.sleep(pause)
        return await self._client.send(request, stream=True, follow_redirects=False)

    def _redirect(self, response: httpx2.Response) -> httpx2.Request | None:
        """The same request at another URL of the same origin (307 and 308, RFC 9110 §15.4.8); no other is followed."""
        following = response.next_request
        if following is None or response.status_code not in (307, 308) or not same_origin(following.url, self._url):
            return None
        return following

    def _refusal(self, response: httpx2.Response, grant: Grant | None) -> Refused | None:
        challenge = read_challenge(response)
        if challenge is not None:
            return Unauthorized(challenge, grant)
        return SessionExpired() if response.status_code == 404 and self._session_id is not None else None


async def discard(response: httpx2.Response) -> None:
    """Close an answer that nobody reads; a small one to its end, so that its connection can be used again."""
    try:
        with anyio.move_on_after(END_OF_ANSWER), suppress(httpx2.TransportError, ProtocolError):
            await read_body(response, MAX_DISCARDED)
    finally:
        await response.aclose()


def media_type(response: httpx2.Response) -> str:
    """The content type without its parameters."""
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def same_origin(one: httpx2.URL, other: httpx2.URL) -> bool:
    """RFC 6454 §5."""
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


def read_trouble(place: str, response: httpx2.Response) -> Exception:
    """What an answer means that is neither a success nor a refusal."""
    status = response.status_code
    if status == 429 or status >= 500:
        return ServerTrouble(f"{place} answered {status}; try again later.", retry_after=retry_after(response))
    if response.has_redirect_location:
        return ProtocolError(f"{place} redirects to another place, which is not followed. Configure the server's final URL.")
    return ProtocolError(f"{place} answered {status} to an MCP request. Is this the URL of its MCP endpoint?")
