"""A start link, and the callback that the browser comes back to.

An authorization is finished only for the user who started it (R26): `get_user` says who the browser belongs to, on both routes, and
nobody else's request is touched. Otherwise somebody could send their own link to a victim, whose account would then be connected to
theirs.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote, urljoin, urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from langchain_mcp_oauth.errors import ConfigurationError, MCPOAuthError, RequestExpiredError, RequestUsedError, UnknownStateError
from langchain_mcp_oauth.models import AuthorizationRequest, RequestStatus
from langchain_mcp_oauth.oauth.authorization import parse_callback
from langchain_mcp_oauth.pages import HEADERS, ONLY_GET, SIGN_IN_FIRST, START_HEADERS, Page, connected_page, error_page, render, start_page
from langchain_mcp_oauth.store.contract import TokenStore

if TYPE_CHECKING:
    from langchain_mcp_oauth.toolkit import MCPOAuthToolkit

__all__ = ["GetUser", "StartLinkCookie", "addresses", "callback_routes", "path_below", "who"]

logger = logging.getLogger(__name__)

GetUser: TypeAlias = Callable[[Request], str | Awaitable[str | None] | None]
"""Who the browser belongs to, as the application knows it (its session, never the URL): the same `user_id` that the toolkit is used
with, or None for nobody. A plain function runs on the event loop, so one that waits should be `async`."""


def callback_routes(
    toolkit: MCPOAuthToolkit,
    *,
    get_user: GetUser,
    base_url: str | None = None,
    scope_words: Mapping[str, str] | None = None,
    connections: str | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Route]:
    """The callback at the path of the toolkit's `redirect_uri`, and the start link beside it: `/oauth/callback` and
    `/oauth/start/{auth_id}`, a page that names the server, the authorization server and what it will ask before the person leaves.

    Example:
        ```python
        app = Starlette(routes=callback_routes(toolkit, get_user=lambda request: request.session.get("user_id")), middleware=[...])
        app = FastAPI(routes=callback_routes(toolkit, get_user=current_user))
        ```

    Args:
        toolkit: Completes the authorizations. It needs no user of its own.
        get_user: Who the browser belongs to. What it raises goes to the application, e.g. an `HTTPException` that redirects to a sign-in.
        base_url: The public URL under which the routes are mounted. Default: the root of `redirect_uri`'s host. Without a
            `redirect_uri` the callback is at `/oauth/callback` below it.
        scope_words: What scopes allow, in your words: `{"files:read": "Read your files"}`. Default: what their names tell.
        connections: The path of a page to offer at the end, such as the one of `connection_routes`, which sets it.
        now: The clock, aware UTC.

    The public address is taken from the configuration and never from the request, so it does not matter what a proxy does to `Host`.

    Raises:
        ConfigurationError: there is no `redirect_uri` and no `base_url`, or the one is not below the other.
    """
    callback_uri, base = addresses(toolkit.redirect_uri, base_url)

    async def start(request: Request) -> Response:
        user = await who(get_user, request)
        if user is None:
            return _html(SIGN_IN_FIRST, connections)
        wanted = await _open_request(toolkit, request.path_params["auth_id"], user, now())
        # Its address was validated when it was stored, and no part of it comes from this request.
        response = Response(start_page(wanted, words=scope_words or {}, back=connections), headers=START_HEADERS)
        if isinstance(get_user, StartLinkCookie):
            get_user.mark(response, wanted)
        return response

    async def callback(request: Request) -> Response:
        user = await who(get_user, request)
        if user is None:
            return _html(SIGN_IN_FIRST, connections)
        callback_url = urlsplit(callback_uri)._replace(query=_query(request)).geturl()
        completed = await toolkit.complete_authorization(callback_url, user_id=user)
        return _html(connected_page(completed.server, missing_scopes=bool(completed.missing_scopes)), connections)

    start_uri = urljoin(callback_uri, "start/{auth_id}")
    return [
        Route(path_below(base, callback_uri), _Get(callback, connections), name="mcp_oauth_callback"),
        Route(path_below(base, start_uri), _Get(start, connections), name="mcp_oauth_start"),
    ]


class StartLinkCookie:
    """`get_user` for an application without a sign-in of its own, such as a bot that sends its start links by direct message.

    Whoever opens a start link acts for the user it was made for, and only the browser that opened it can finish: it gets a `__Host-` cookie
    for that one request (R26). So the link is all that tells users apart, and whoever it is passed on to connects *their* account for
    that user. Where the application knows who a browser belongs to, let it say so instead. Needs https, or a browser that lets
    localhost have secure cookies.

    Example:
        ```python
        callback_routes(toolkit, get_user=StartLinkCookie(toolkit))
        ```
    """

    def __init__(self, toolkit: MCPOAuthToolkit) -> None:
        self._store = toolkit.store

    async def __call__(self, request: Request) -> str:
        """The user of the request that is started, or that was started in this browser. Raises `CallbackError` if there is none."""
        auth_id = request.path_params.get("auth_id")
        if auth_id is not None:
            wanted = await _load(self._store, auth_id)
        else:
            wanted = await self._store.load_request_by_state(parse_callback(f"?{_query(request)}").state)
        if wanted is None or (auth_id is None and _cookie(wanted) not in request.cookies):
            raise UnknownStateError("An authorization was to be started that there is not, or finished in another browser.")
        return wanted.key.user_id

    def mark(self, response: Response, wanted: AuthorizationRequest) -> None:
        """Let the browser that gets this response finish `wanted`."""
        response.set_cookie(_cookie(wanted), "1", expires=wanted.expires_at, path="/", secure=True, httponly=True, samesite="lax")


def _cookie(wanted: AuthorizationRequest) -> str:
    """Only this very host can set such a cookie, so its being there says all (RFC 6265bis §4.1.3.2)."""
    return f"__Host-mcp-oauth-{wanted.auth_id}"


class _Get:
    """An ASGI application for GET alone: HEAD must not redeem a code. Errors of this library become their page."""

    def __init__(self, answer: Callable[[Request], Awaitable[Response]], connections: str | None) -> None:
        self._answer = answer
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request) if request.method == "GET" else _html(ONLY_GET, self._connections)
        except MCPOAuthError as error:
            logger.warning("An authorization was not completed (%s): %s", error.code, error)
            response = _html(error_page(error), self._connections)
        scope["query_string"] = b""  # servers write their access log from the scope, and a callback's query holds a code (R39)
        await response(scope, receive, send)


async def who(get_user: GetUser, request: Request) -> str | None:
    """The user of the browser that sends the request, or None."""
    user = get_user(request)
    return (await user if inspect.isawaitable(user) else user) or None


async def _open_request(toolkit: MCPOAuthToolkit, auth_id: str, user: str, now: datetime) -> AuthorizationRequest:
    """The user's request, if it can still be answered. Another's is as unknown as one that never was."""
    request = await _load(toolkit.store, auth_id)
    if request is None or request.key.user_id != user:
        raise UnknownStateError("A start link was opened that is not the user's.")
    if request.status is not RequestStatus.PENDING:
        raise RequestUsedError(f"A start link for {request.key.server!r} was opened after its answer; the call asks for a new one.")
    if request.expires_at <= now:
        raise RequestExpiredError(f"A start link for {request.key.server!r} was opened too late; the call asks for a new one.")
    return request


_AUTH_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


async def _load(store: TokenStore, auth_id: str) -> AuthorizationRequest | None:
    return await store.load_request(auth_id) if _AUTH_ID.fullmatch(auth_id) else None


def _query(request: Request) -> str:
    query: bytes = request.scope["query_string"]
    return query.decode("latin-1")


def addresses(redirect_uri: str | None, base_url: str | None) -> tuple[str, str]:
    """Where browsers come back to, and what the routes' paths are relative to."""
    if redirect_uri is None and base_url is None:
        raise ConfigurationError("These routes need a toolkit with a redirect_uri, or a base_url.")
    base = (base_url or urljoin(redirect_uri or "", "/")).rstrip("/")
    return redirect_uri or f"{base}/oauth/callback", base


def path_below(base: str, uri: str, what: str = "The toolkit's redirect_uri") -> str:
    """The path of a public address within the application that is mounted at `base`."""
    if not uri.startswith(f"{base}/"):
        raise ConfigurationError(f"{what} is not below base_url {base!r}; nobody would get here.")
    return unquote(urlsplit(uri.removeprefix(base)).path)


def _html(page: Page, connections: str | None) -> Response:
    return Response(render(page, connections=connections), page.status, headers=HEADERS)
