"""The page of connections: what the application may use as this user, and the buttons to change that. Works without a script."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from langchain_mcp_oauth.authorizer.status import ServerStatus
from langchain_mcp_oauth.errors import ConfigurationError, ConnectionFailed, MCPOAuthError
from langchain_mcp_oauth.pages import (
    LIVE_HEADERS,
    NO_LOGIN_NEEDED,
    NOT_FROM_HERE,
    NOT_REACHED,
    ONLY_GET_AND_POST,
    PREFIX,
    SIGN_IN_FIRST,
    UNREADABLE,
    UNUSABLE_VALUE,
    Card,
    Page,
    connections_page,
    error_page,
    render,
)
from langchain_mcp_oauth.servers.remote import AnyServer, MCPServer
from langchain_mcp_oauth.web.callback import GetUser, StartLinkCookie, addresses, callback_routes, path_below, who
from langchain_mcp_oauth.web.forms import Seal, is_same_origin, read_form

if TYPE_CHECKING:
    from langchain_mcp_oauth.toolkit import MCPOAuthToolkit

__all__ = ["connection_routes"]

logger = logging.getLogger(__name__)


def connection_routes(
    toolkit: MCPOAuthToolkit,
    *,
    get_user: GetUser,
    base_url: str | None = None,
    scope_words: Mapping[str, str] | None = None,
    name_of: Callable[[Request, str], str] = lambda _request, user: user,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Route]:
    """The page of connections at `/oauth/connections`, together with what `callback_routes` returns, which it needs.

    The page lists every server with the state of the user's login, and lets them connect, reconnect and disconnect, and give what a server
    wants of its users, such as an API key (`{{NAME}}` in its configuration). It looks for news by
    itself while a login is open, so one that is finished in another tab, or for a waiting agent, shows at once; without a script it
    reloads. It asks each server whether it answers (`MCPOAuthToolkit.reachable`), and the store for everything else.

    Example:
        ```python
        app = FastAPI(routes=connection_routes(toolkit, get_user=current_user))
        ```

    Args:
        toolkit: As for `callback_routes`.
        get_user: As for `callback_routes`; `StartLinkCookie` will not do, as this page belongs to a user and not to a link.
        base_url: As for `callback_routes`.
        scope_words: What scopes allow, in your words: `{"files:read": "Read your files"}`. Default: what their names tell.
        name_of: How a user is shown to themselves, e.g. by email address. Default: the user id.
        now: The clock, aware UTC.

    A form is accepted only from this page, for the user and in the browser it was shown to: the browser must say that it comes from the
    same origin, and the form must carry a token bound to both.

    Raises:
        ConfigurationError: as `callback_routes`; `get_user` is a `StartLinkCookie`.
    """
    if isinstance(get_user, StartLinkCookie):
        raise ConfigurationError("connection_routes needs a get_user that knows who is signed in; a StartLinkCookie knows only one link.")
    callback_uri, base = addresses(toolkit.redirect_uri, base_url)
    uri = urljoin(callback_uri, "connections")
    desk = _Desk(toolkit, get_user, uri, scope_words or {}, name_of)
    return [
        Route(path_below(base, uri), desk, name="mcp_oauth_connections"),
        *callback_routes(toolkit, get_user=get_user, base_url=base_url, scope_words=scope_words, now=now, connections=desk.path),
    ]


def _has_logins(server: AnyServer) -> bool:
    """Whether people log in to it; not where the application gets its tokens by itself, sends its own, or starts a program."""
    return isinstance(server, MCPServer) and server.grant is None and server.uses_oauth


def _card(status: ServerStatus, server: AnyServer, *, reachable: bool) -> Card:
    keys = {name: server.variables.get(name, "") for name in server.names}
    return Card(status, server.url if isinstance(server, MCPServer) else "", reachable, _has_logins(server), keys)


class _Desk:
    """An ASGI application for the one page and its forms."""

    def __init__(
        self,
        toolkit: MCPOAuthToolkit,
        get_user: GetUser,
        uri: str,
        words: Mapping[str, str],
        name_of: Callable[[Request, str], str],
    ) -> None:
        parts = urlsplit(uri)
        self.path = parts.path
        self._toolkit = toolkit
        self._get_user = get_user
        self._words = words
        self._name_of = name_of
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._seal = Seal(secure=parts.scheme == "https")
        self._actions: dict[str, Callable[[dict[str, str], str], Awaitable[Response]]] = {
            "connect": self._connect,
            "supply": self._supply,
            "disconnect": self._disconnect,
        }
        self._values = max((len(server.names) for server in toolkit.servers.values()), default=0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        await (await self._answer(request))(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method not in {"GET", "POST"}:
            return self._outcome(ONLY_GET_AND_POST)
        user = await who(self._get_user, request)
        if user is None:
            return self._outcome(SIGN_IN_FIRST)
        try:
            return await (self._show(request, user) if request.method == "GET" else self._act(request, user))
        except MCPOAuthError as error:
            logger.warning("The page of connections could not do it (%s): %s", error.code, error)
            return self._outcome(NOT_REACHED if isinstance(error, ConnectionFailed) else error_page(error))

    async def _show(self, request: Request, user: str) -> Response:
        key = self._seal.key(request) or self._seal.new_key()
        statuses = await self._statuses(user)
        reachable = await self._toolkit.reachable()
        servers = self._toolkit.servers
        page = connections_page(
            [_card(status, servers[name], reachable=reachable[name]) for name, status in statuses.items()],
            user=self._name_of(request, user),
            action=self.path,
            token=self._seal.token(key, user),
            words=self._words,
        )
        response = Response(page, headers=LIVE_HEADERS)
        if self._seal.key(request) is None:
            self._seal.set(response, key)
        return response

    async def _statuses(self, user: str) -> dict[str, ServerStatus]:
        """From the store; nobody comes back from a code that is entered elsewhere, so whoever shows it looks (RFC 8628 §3.4)."""
        statuses = await self._toolkit.status(user_id=user)
        waiting = [name for name, status in statuses.items() if status.waiting is not None and status.waiting.user_code is not None]
        for name in waiting:
            with suppress(ConnectionFailed):
                await self._toolkit.begin_authorization(name, user_id=user)
        return await self._toolkit.status(user_id=user) if waiting else statuses

    async def _act(self, request: Request, user: str) -> Response:
        """Do what a form says, once it is sure where it comes from."""
        form = await read_form(request, values=self._values)
        if form is None:
            return self._outcome(UNREADABLE)
        if not is_same_origin(request.headers, self._origin) or not self._seal.fits(request, user, form.get("token", "")):
            return self._outcome(NOT_FROM_HERE)
        act = self._actions.get(form.get("action", ""))
        if act is None or form.get("server") not in self._toolkit.servers:
            return self._outcome(UNREADABLE)
        return await act(form, user)

    async def _connect(self, form: dict[str, str], user: str) -> Response:
        """Open a login, and show where it leads before the person goes."""
        needed = await self._toolkit.begin_authorization(form["server"], user_id=user)
        if needed is not None:
            return self._to(urljoin(self.path, f"start/{needed.auth_id}"))
        connected = (await self._toolkit.status(user_id=user))[form["server"]].connected
        return self._at(form["server"]) if connected else self._outcome(NO_LOGIN_NEEDED)

    async def _supply(self, form: dict[str, str], user: str) -> Response:
        """Keep what the person gave; an empty field gives nothing."""
        values = {name.removeprefix(PREFIX): text for name, text in form.items() if name.startswith(PREFIX) and text.strip()}
        try:
            if values:
                await self._toolkit.save_credentials(form["server"], values, user_id=user)
        except ConfigurationError:
            return self._outcome(UNUSABLE_VALUE)
        return self._at(form["server"])

    async def _disconnect(self, form: dict[str, str], user: str) -> Response:
        await self._toolkit.disconnect(form["server"], user_id=user)
        return self._at(form["server"])

    def _at(self, server: str) -> Response:
        """To the page, at this server: loading it again does nothing twice."""
        return self._to(f"{self.path}#server-{list(self._toolkit.servers).index(server) + 1}")

    def _to(self, path: str) -> Response:
        return Response(status_code=303, headers={**LIVE_HEADERS, "Location": path})

    def _outcome(self, page: Page) -> Response:
        return Response(render(page, connections=self.path), page.status, headers=LIVE_HEADERS)
