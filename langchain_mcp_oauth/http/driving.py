"""The one place that does the IO of OAuth conversations."""

from __future__ import annotations

import ssl

import anyio
import httpx2

from langchain_mcp_oauth.errors import ConnectionFailed, ProtocolError
from langchain_mcp_oauth.oauth import Flow, T

__all__ = ["connection_failed", "drive", "is_certificate_error", "place_of", "read_body"]

DEADLINE = 15.0
"""Seconds for a whole conversation, all its requests and answers together."""

MAX_REQUESTS = 24
"""In one conversation; discovery at its longest needs about ten."""

MAX_DOCUMENT = 256 * 1024
"""Bytes of one OAuth document."""


async def drive(flow: Flow[T], client: httpx2.AsyncClient, *, deadline: float = DEADLINE) -> T:
    """Send what the flow yields, hand it the answers, return its result. Redirects are the flow's to see, none is followed.

    Args:
        flow: A conversation; closed at the end, however it ends.
        client: From `guarded_client`.
        deadline: Seconds for the whole conversation.

    Raises:
        ConnectionFailed: a server could not be reached, or the deadline has passed.
        ProtocolError: an answer is larger than 256 KiB or compressed, or the flow wants more than 24 requests.
        UnsafeURLError: a URL or its address may not be contacted.
        Exception: whatever the flow raises.
    """
    place = "The server"
    try:
        with anyio.fail_after(deadline):
            request = next(flow)
            for _ in range(MAX_REQUESTS):
                place = place_of(request.url)
                request = flow.send(await _exchange(client, request))
        raise ProtocolError(f"The conversation with {place} took more than {MAX_REQUESTS} requests.")
    except StopIteration as end:
        result: T = end.value
        return result
    except TimeoutError:
        raise ConnectionFailed(f"{place} did not answer within {deadline:g} s; try again later.") from None
    except httpx2.TransportError as error:
        raise connection_failed(place, error) from None
    finally:
        flow.close()


def connection_failed(place: str, error: httpx2.TransportError) -> ConnectionFailed:
    """Our words for trouble on the way to a server."""
    if is_certificate_error(error):
        return ConnectionFailed(f"{place} has no certificate that this machine trusts for that name.")
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return ConnectionFailed(f"{place} could not be reached; try again later.")
    return ConnectionFailed(f"{place} broke off the connection; try again later.")


def is_certificate_error(error: httpx2.TransportError) -> bool:
    """Whether the connection failed because of the server's certificate: trying again changes nothing."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


async def read_body(response: httpx2.Response, limit: int) -> bytes:
    """The body, whole, counted while it arrives.

    Raises:
        ProtocolError: it is larger than `limit` bytes; what came so far is dropped.
    """
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > limit:
            raise ProtocolError(f"{place_of(response.url)} sent more than {limit // 1024:,} KiB in one answer.")
    return bytes(body)


async def _exchange(client: httpx2.AsyncClient, request: httpx2.Request) -> httpx2.Response:
    response = await client.send(request, stream=True, follow_redirects=False)
    try:
        body = await read_body(response, MAX_DOCUMENT)
    finally:
        await response.aclose()
    return httpx2.Response(response.status_code, headers=response.headers, content=body, request=request)


def place_of(url: httpx2.URL) -> str:
    """For messages: nothing of the path or query."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
