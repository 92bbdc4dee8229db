"""Opening the browser, and waiting for the answers of all logins that are open at once."""

from __future__ import annotations

import asyncio
import logging
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from urllib.parse import parse_qs, urlsplit

from langchain_mcp_oauth.errors import (
    AuthRequired,
    CallbackError,
    ConfigurationError,
    MCPOAuthError,
    PersonRequired,
    RequestExpiredError,
)
from langchain_mcp_oauth.loopback.listener import Listener, bind
from langchain_mcp_oauth.oauth.urls import MAX_AUTHORIZATION_URL_LENGTH, check_url
from langchain_mcp_oauth.pages import NOT_YOURS, Page, connected_page, error_page

__all__ = ["LoopbackBrowser"]

logger = logging.getLogger(__name__)

PORTS = range(8917, 8927)
"""Tried in order. Unassigned by IANA, and below 32768, where systems begin to take ports for outgoing connections."""

PATH = "/oauth/callback"

ADDRESSES = {"127.0.0.1": "127.0.0.1", "::1": "::1", "localhost": "127.0.0.1"}
"""What each host listens on."""


class LoopbackBrowser:
    """`on_auth_required` for the person at this machine: opens their browser, waits for the answer and redeems it.

    Example:
        ```python
        toolkit = MCPOAuthToolkit(servers, user_id="me", on_auth_required=LoopbackBrowser())
        ```

    The port is part of the redirect URI and so of the client's registration, and most authorization servers compare it exactly, whatever
    RFC 8252 §7.3 asks of them. So it is chosen here, once: without `port` the first free one of ten, the same in every run unless
    another program has it. It is bound only while a login is waited for; several `LoopbackBrowser`s may share it, one at a time.

    Calls at the same time share the listener, and calls for the same request one browser window. Cancelling one leaves the others alone.

    Args:
        host: `127.0.0.1`, `::1`, or `localhost` (which listens on 127.0.0.1) for a server that insists on it (RFC 8252 §8.3).
        port: For a client that was registered beforehand with this port; no other is tried.
        open_browser: Opens a URL; returns False if it cannot. Default: `webbrowser.open`. Called in a thread of its own, as it may block.
        timeout: Seconds to wait for the person.
        show: Given a line with the URL if no browser could be opened.

    Raises:
        ConfigurationError: `host` or `port` cannot be, or none of the ten is free.
    """

    redirect_uri: str
    """Where the browser comes back to. The toolkit takes it from here."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        open_browser: Callable[[str], bool] | None = None,
        timeout: float = 300.0,
        show: Callable[[str], object] = print,
    ) -> None:
        if host not in ADDRESSES or not (port is None or 0 < port < 65536):
            raise ConfigurationError(f"LoopbackBrowser needs one of the hosts {', '.join(ADDRESSES)} and a port from 1 to 65535.")
        self._address = ADDRESSES[host]
        self._port = port or _first_free(self._address)
        self.redirect_uri = f"http://{f'[{host}]' if ':' in host else host}:{self._port}{PATH}"
        self._open_browser = open_browser or webbrowser.open
        self._timeout = timeout
        self._show = show
        self._waiting: dict[asyncio.AbstractEventLoop, _Waiting] = {}

    async def __call__(self, auth_required: PersonRequired) -> None:
        """Return when the authorization is complete.

        Raises:
            AuthRequired: this one, if nobody answered in time.
            CredentialsRequired: this one; a browser is no place to type them.
            AuthorizationDenied, TokenEndpointError, RequestExpiredError, StoreError: what the answer came to.
            ConnectionFailed, StoreUnavailable: it was so when the person last tried; they did not try again in time.
            ConfigurationError: the port is taken, or the login leads back to another address.
            UnsafeURLError: what is to be opened is not a plain web address.
        """
        if not isinstance(auth_required, AuthRequired):
            raise auth_required
        state = self._state(auth_required.authorization_url)
        loop = asyncio.get_running_loop()
        here = self._waiting.get(loop) or self._waiting.setdefault(loop, self._listen())
        login = here.logins.get(state)
        if login is None:
            login = here.logins[state] = _Login(auth_required, loop.create_future())
            threading.Thread(target=self._open, args=(auth_required,), daemon=True).start()
        login.calls += 1
        try:
            async with asyncio.timeout(self._timeout):
                await asyncio.shield(login.outcome)
        except TimeoutError:
            raise login.trouble or auth_required from None
        finally:
            here.leave(state)
            if not here.logins:
                del self._waiting[loop]
                await here.listener.aclose()

    def _state(self, url: str) -> str:
        """What its answer will be recognised by."""
        check_url(url, "The authorization URL", limit=MAX_AUTHORIZATION_URL_LENGTH)
        state = _parameter(url, "state")
        if state is None or _parameter(url, "redirect_uri") != self.redirect_uri:
            raise ConfigurationError(
                f"This login does not lead back to {self.redirect_uri}. With LoopbackBrowser, give MCPOAuthToolkit "
                "no other redirect_uri and no start_url."
            )
        return state

    def _listen(self) -> _Waiting:
        try:
            listening = bind(self._address, self._port)
        except OSError:
            raise ConfigurationError(
                f"Port {self._port} on {self._address} is taken, perhaps by a login in another program. "
                "Finish that, or give LoopbackBrowser another `port`."
            ) from None
        logins: dict[str, _Login] = {}
        return _Waiting(logins, Listener(listening, self.redirect_uri, partial(_answer, logins)))

    def _open(self, needed: AuthRequired) -> None:
        try:
            opened = self._open_browser(needed.authorization_url)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the person can still open the URL
            logger.warning("The browser could not be opened (%s).", type(error).__name__)
            opened = False
        if not opened:
            self._show(f"Open this in a browser on this machine to give access to {needed.server!r}:\n{needed.authorization_url}")


@dataclass(eq=False, slots=True)
class _Login:
    """One request, and how it ended; one call or several wait for it."""

    needed: AuthRequired
    outcome: asyncio.Future[None]
    calls: int = 0
    trouble: MCPOAuthError | None = None
    """A failure that the person was asked to try again after."""

    async def redeem(self, callback_url: str) -> Page:
        """Complete the authorization and wake those who wait, unless this answer is one to ignore or to try again."""
        try:
            await self.needed.complete(callback_url)
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            self._fail(error)
            return error_page(error)
        if not self.outcome.done():
            self.outcome.set_result(None)
        return connected_page(self.needed.server)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, MCPOAuthError) and error.retryable:
            self.trouble = error
        elif isinstance(error, CallbackError) and not isinstance(error, RequestExpiredError):
            logger.warning("A callback for %r was ignored (%s).", self.needed.server, error.code)
        elif not self.outcome.done():
            self.outcome.set_exception(error)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """The logins that are waited for in one event loop, by their state, and the port that is open for them."""

    logins: dict[str, _Login]
    listener: Listener

    def leave(self, state: str) -> None:
        """One call fewer waits for this login."""
        login = self.logins[state]
        login.calls -= 1
        if not login.calls:
            del self.logins[state]
            login.outcome.cancel()


async def _answer(logins: dict[str, _Login], callback_url: str) -> Page:
    login = logins.get(_parameter(callback_url, "state") or "")
    return await login.redeem(callback_url) if login else NOT_YOURS


def _parameter(url: str, name: str) -> str | None:
    """The parameter's value, if the URL has it exactly once."""
    values = parse_qs(urlsplit(url).query).get(name, [])
    return values[0] if len(values) == 1 else None


def _first_free(address: str) -> int:
    for port in PORTS:
        with suppress(OSError), bind(address, port):
            return port
    raise ConfigurationError(f"None of the ports {PORTS[0]} to {PORTS[-1]} on {address} is free; give LoopbackBrowser a `port`.")
