"""The toolkit: MCP servers × users → LangChain tools."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar, get_args

from langchain_core.documents.base import Blob
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, BaseToolkit
from mcp_types import Prompt, Resource
from pydantic import ConfigDict, PrivateAttr

from langchain_mcp_oauth.authorizer.authorizing import CompletedAuthorization
from langchain_mcp_oauth.authorizer.status import ServerStatus
from langchain_mcp_oauth.connections import ListedTools, ToolResult
from langchain_mcp_oauth.errors import AuthRequired, ConfigurationError, PersonRequired, UserRequiredError
from langchain_mcp_oauth.events import OnEvent
from langchain_mcp_oauth.interrupts.answers import GivenCredentials
from langchain_mcp_oauth.interrupts.asking import LIMIT, Asking, Conversation, OnElicitation, adrive, drive_sync
from langchain_mcp_oauth.interrupts.graph import current_run, interrupt_run, user_of_run
from langchain_mcp_oauth.interrupts.payloads import InterruptFormat
from langchain_mcp_oauth.oauth.urls import check_redirect_uri
from langchain_mcp_oauth.profiles import Schema, common
from langchain_mcp_oauth.servers.remote import AnyServer, MCPServer, parse_servers
from langchain_mcp_oauth.service.loops import run_sync
from langchain_mcp_oauth.service.service import ALONE, Beside, Service
from langchain_mcp_oauth.store.contract import TokenStore
from langchain_mcp_oauth.tools.content import to_blobs, to_messages
from langchain_mcp_oauth.tools.listing import Lister, Offer, OnServerError, OnUnauthorized
from langchain_mcp_oauth.tools.schemas import clean_description
from langchain_mcp_oauth.tools.tool import make_connect_tool, make_tools

__all__ = ["MCPOAuthToolkit"]

SERVICE = "service"
"""Who calls where every server takes the application itself for its user: nothing is kept under this name."""

T = TypeVar("T")

OnAuthRequired: TypeAlias = Callable[[PersonRequired], Awaitable[None] | None]
EncryptionKey: TypeAlias = str | Sequence[str] | Callable[[], str | Sequence[str]]


class MCPOAuthToolkit(BaseToolkit):
    """The tools of MCP servers, with each user's own login, which is a durable event rather than a browser on the server.

    ```python
    toolkit = MCPOAuthToolkit({"linear": "https://mcp.linear.app/mcp"}, redirect_uri="https://app.example/oauth/callback")
    agent = create_agent(model, await toolkit.aget_tools(user_id="alice"), checkpointer=saver)
    ```

    Args:
        servers: A name for each MCP server, with its URL, a dict of options, an `MCPServer` or a `StdioServer`.
        store: A `TokenStore`, or a SQLAlchemy database URL. Default: a SQLite file in the user's data directory, for one machine.
        redirect_uri: Where browsers come back to: https, or http on loopback. Default: that of `on_auth_required`, if it has one
            (`LoopbackBrowser` does). Needed only once a login is; without one, an authorization server that can is asked for a code that
            the person enters elsewhere (RFC 8628, `AuthRequired.user_code`).
        user_id: Whose accounts, when they are always the same person's. Default: what each run says, see `user_of_run`; a call for which
            nobody says is refused, never given a shared identity. Not needed where every server has a grant of the application's own,
            such as `ClientCredentials`.
        on_auth_required: Called in the call's own frame, with nothing held open, when a person has to authorize; it returns (or
            awaits) to look again, or raises to stop. Default `interrupt_run`: an interrupt inside a LangGraph run, the exception outside.
        encryption_key: What seals tokens at rest: 32 bytes in URL-safe base64 (`Fernet.generate_key()` prints one), several (the first
            seals, all open), or a function that returns them. Default: `LANGCHAIN_MCP_OAUTH_KEY`; else, for SQLite only, the OS keyring or
            a key file of mode 0600 in the user's configuration directory.
        allowed_private_hosts: Addresses that are not public and yet may be contacted, as exact `host:port`. The configured servers' own
            loopback addresses need none; an authorization server on another private address does.
        timeout: Seconds for one MCP operation, whole. OAuth exchanges have 15.
        request_lifetime: How long a person has for one authorization URL.
        on_server_error: When some servers cannot list their tools: `raise` one error that names all, or `skip` them with a log line.
        schema_profile: Makes a tool's JSON schema fit for the model's provider: one of `langchain_mcp_oauth.profiles`, or your own
            function. Default: what OpenAI (without `strict`), Anthropic and langchain-core's converters accept alike.
        pin_tools: Refuse a server's listing (`ToolsChanged`) once the name, description or input schema of a tool is not as this user first
            saw it, until `accept_tools` says that it may be; kept in the store. New tools are taken as they come. Default: definitions
            are believed each time. Costs one look into the store for each listing.
        on_unauthorized: When a server will not list its tools without a login: `raise` (ask, by `on_auth_required`), take what it listed
            last (`cached`; also when it cannot be reached), or let a tool `connect_<server>` stand in that asks when the model calls it
            (`placeholder`). With the last two a graph can be built before there is a user.
        start_url: Where the application has mounted the start links of `callback_routes`, e.g. `https://app.example/oauth/start`. With it,
            `AuthRequired` carries a first-party link that checks who opens it; without, the authorization server's URL.
        on_event: Told of every login that is asked for, completed, refused, refreshed or ended, and of every call, after it has happened:
            see `langchain_mcp_oauth.events`. Awaited in the call's own frame, for 10 s at most; what it raises breaks nothing.
        interrupt_format: What `interrupt_run`'s interrupts look like: `native` (`AuthRequired.payload()`), `hitl` (a review request of
            LangChain's human-in-the-loop middleware: approve, respond or reject), `inbox` (a `HumanInterrupt` of Agent Inbox: accept,
            respond or ignore), `elicitation` (an `mcp_elicitation` in URL mode, as `langchain.mcp` interrupts), or a function that makes a
            value of primitives of the native payload; to be found by `auth_interrupts` it keeps that under the key `mcp_oauth`.
        on_elicitation: Answers the questions that servers ask a person during a call: takes the payload of an `mcp_elicitation` interrupt,
            returns (or awaits) `{"responses": {key: {"action": "accept", "content": {…}}}}`. Default: an interrupt, inside a graph; outside
            of one servers are told that nobody can be asked.
        proxy: An egress proxy, as `http://proxy.internal:3128`, perhaps with a user and password; everything but loopback goes through
            it, and which addresses may be reached is then the proxy's to decide. Default: none; the environment's are not read.

    Raises:
        ConfigurationError: an option cannot work; the message names it.

    One instance serves many users, threads and event loops. It can be used as an async context manager, which closes its connections.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", frozen=True)

    _service: Service = PrivateAttr()
    _user_id: str | None = PrivateAttr()
    _redirect_uri: str | None = PrivateAttr()
    _on_auth_required: OnAuthRequired = PrivateAttr()
    _on_elicitation: OnElicitation | None = PrivateAttr()
    _lister: Lister = PrivateAttr()
    _owns_store: bool = PrivateAttr()
    _schema_profile: Callable[[Schema], Schema] = PrivateAttr()

    def __init__(
        self,
        servers: Mapping[str, str | Mapping[str, Any] | AnyServer],
        *,
        store: TokenStore | str | None = None,
        redirect_uri: str | None = None,
        user_id: str | None = None,
        on_auth_required: OnAuthRequired = interrupt_run,
        encryption_key: EncryptionKey | None = None,
        allowed_private_hosts: Iterable[str] = (),
        timeout: float = 60.0,
        request_lifetime: timedelta = timedelta(minutes=10),
        on_server_error: OnServerError = "raise",
        on_unauthorized: OnUnauthorized = "raise",
        pin_tools: bool = False,
        schema_profile: Callable[[Schema], Schema] = common,
        start_url: str | None = None,
        on_event: OnEvent | None = None,
        interrupt_format: InterruptFormat = "native",
        on_elicitation: OnElicitation | None = None,
        proxy: str | None = None,
    ) -> None:
        super().__init__()
        _check("on_server_error", on_server_error, OnServerError)
        _check("on_unauthorized", on_unauthorized, OnUnauthorized)
        redirect_uri = redirect_uri or getattr(on_auth_required, "redirect_uri", None)
        self._redirect_uri = check_redirect_uri(redirect_uri) if redirect_uri is not None else None
        self._user_id = user_id
        self._schema_profile = schema_profile
        self._on_auth_required = _formatted(on_auth_required, interrupt_format)
        self._on_elicitation = on_elicitation
        self._owns_store = store is None or isinstance(store, str)
        self._service = Service(
            parse_servers(servers),
            _open_store(store, encryption_key),
            redirect_uri=self._redirect_uri,
            start_url=start_url,
            allowed_private_hosts=frozenset(allowed_private_hosts),
            timeout=timeout,
            request_lifetime=request_lifetime,
            pin_tools=pin_tools,
            on_event=on_event,
            is_attended=lambda: on_elicitation is not None or current_run() is not None,
            proxy=proxy,
        )
        self._lister = Lister(self._service, on_server_error, on_unauthorized)

    @property
    def store(self) -> TokenStore:
        """Where the logins are kept."""
        return self._service.store

    @property
    def schema_profile(self) -> Callable[[Schema], Schema]:
        """What makes tools' schemas fit for the model's provider."""
        return self._schema_profile

    @property
    def redirect_uri(self) -> str | None:
        """Where browsers come back to."""
        return self._redirect_uri

    @property
    def servers(self) -> dict[str, AnyServer]:
        """The configured servers by name."""
        return self._service.servers

    def for_user(self, user_id: str) -> MCPOAuthToolkit:
        """The same toolkit bound to one user: cheap, sharing store and connections, and closed with this one."""
        bound = self.model_copy()
        bound._user_id = user_id  # noqa: SLF001 - a copy of this one
        bound._owns_store = False  # noqa: SLF001
        return bound

    # Tools ------------------------------------------------------------------------------------------------------------------

    def get_tools(self) -> list[BaseTool]:
        """As `aget_tools`, for synchronous code; also where an event loop is running, as in a notebook."""
        return drive_sync(self._list_all(None), self.run_sync)

    async def aget_tools(self, *, user_id: str | None = None) -> list[BaseTool]:
        """The tools of all servers, listed in parallel, in the order the servers were configured.

        Servers are asked anonymously first; one that minds makes this raise `AuthRequired` (or what `on_auth_required` does). A server is
        not asked while its last listing is in date by its own word (SEP-2549); every listing is kept in the store.

        Raises:
            AuthRequired: a server will not list without a login; the other servers have answered by then.
            ServersFailed: with `on_server_error="raise"`, one error for each server that failed; nobody is asked to log in then.
            UserRequiredError: nobody says whose tools.
        """
        return await adrive(self._list_all(user_id))

    def _list_all(self, user_id: str | None) -> Conversation[list[BaseTool]]:
        user = self._whose(user_id, None)
        if user is None and self._lister.on_unauthorized == "raise":
            raise _user_required()
        offers: dict[str, Offer] = {}
        asking = self.asking(user or "", stage="list_tools")
        yield from asking.converse(lambda: self._lister.list_missing(user, offers))
        bound = self.for_user(user) if user is not None and user_id is not None else self
        return bound.make_tools(offers)

    # Resources and prompts --------------------------------------------------------------------------------------------------

    async def alist_resources(self, server: str, *, user_id: str | None = None) -> list[Resource]:
        """What resources a server lists for this user, in MCP's own form (`uri`, `name`, `mime_type`, …).

        Raises:
            AuthRequired: the server will not say without a login (or what `on_auth_required` does); `stage` is `list_resources`.
            ConnectionFailed, ProtocolError, …: as for a tool's call.
        """
        return list(await self._with_login(user_id, server, "list_resources", self._service.list_resources))

    async def aget_resources(self, server: str, uris: Sequence[str] | None = None, *, user_id: str | None = None) -> list[Blob]:
        """A server's resources as LangChain blobs, for document loaders and parsers; a resource may be several.

        Args:
            server: The toolkit's name for the MCP server.
            uris: Which, in order. Default: all that it lists, one request for each.
            user_id: Whose. Default: the toolkit's user.

        Raises:
            AuthRequired: as `alist_resources`; `stage` is `read_resource`.
            ConnectionFailed, ProtocolError, …: as for a tool's call.
        """
        wanted = uris if uris is not None else [str(one.uri) for one in await self.alist_resources(server, user_id=user_id)]
        read = partial(self._service.read_resources, uris=wanted)
        return [blob for result in await self._with_login(user_id, server, "read_resource", read) for blob in to_blobs(result)]

    async def alist_prompts(self, server: str, *, user_id: str | None = None) -> list[Prompt]:
        """What prompts a server lists for this user, in MCP's own form (`name`, `arguments`, …). Raises as `alist_resources`."""
        return list(await self._with_login(user_id, server, "list_prompts", self._service.list_prompts))

    async def aget_prompt(
        self, server: str, name: str, arguments: Mapping[str, str] | None = None, *, user_id: str | None = None
    ) -> list[BaseMessage]:
        """A prompt of a server's, filled in, as LangChain messages. What it says is the server's word. Raises as `alist_resources`."""
        get = partial(self._service.get_prompt, name=name, arguments=arguments or {})
        return to_messages(await self._with_login(user_id, server, "get_prompt", get))

    async def aget_instructions(self, *, user_id: str | None = None) -> dict[str, str]:
        """What servers say of how to use them, by server; only those whose tools this user has been shown. Each is asked once in a session,
        with at most one request.

        It is the servers' word: a system prompt that holds it lets them instruct the model. Cut at 8,192 characters each.

        Raises:
            AuthRequired, ConnectionFailed, ProtocolError, …: as `alist_resources`; `stage` is `get_instructions`.
        """
        user = self._resolve(user_id, None)
        shown = [name for name in self.servers if await self._service.last_listed(user, name) is not None]
        said = {name: await self._with_login(user, name, "get_instructions", self._service.how_to_use) for name in shown}
        return {name: clean_description(text) for name, text in said.items() if text}

    async def _with_login(self, user_id: str | None, server: str, stage: str, act: Callable[[str, str], Awaitable[T]]) -> T:
        user = self._resolve(user_id, None)
        asking = self.asking(user, stage=stage, server=server)
        return await adrive(asking.converse(lambda: act(user, server)))

    # Authorization ----------------------------------------------------------------------------------------------------------

    async def begin_authorization(self, server: str, *, user_id: str | None = None) -> AuthRequired | None:
        """What a person opens to log in to a server before any call needs it, or to log in anew: a page's or a command's "Connect".

        An open request is joined: as long as it lives everybody gets the same URL. The login there is stays good until the new one
        takes its place.

        Returns:
            The event, not raised; its `complete` redeems the callback. None if the server answers without a token and names nobody who
            could give one; or if the code that was waited for has been entered, and the login is there.

        Raises:
            ConnectionFailed, DiscoveryError, RegistrationError, UnsafeURLError, StoreError: there is nothing to open; the message says why.
            ConfigurationError: there is no `redirect_uri`, no such server, or nobody says whose login it is.
        """
        return await self._service.authorizer.begin(self._service.login_key(self._resolve(user_id, None), server))

    async def complete_authorization(self, callback_url: str, *, user_id: str | None = None) -> CompletedAuthorization:
        """Redeem the URL that a browser came back to, and store the tokens. Works on a fresh toolkit in any process.

        Args:
            callback_url: The whole URL, with its query.
            user_id: Who brings it, as the application's own sign-in says; must be who asked. Default: the toolkit's user.

        Raises:
            CallbackError: it answers no open request of this user; nothing was changed (`UnknownStateError`, `RequestExpiredError`,
                `RequestUsedError`, `WrongUserError`, `IssuerMismatchError`).
            AuthorizationDenied: the person refused.
            TokenEndpointError: the authorization server refused the code.
            ConnectionFailed, StoreUnavailable: try the same URL again.
            UserRequiredError: neither this call nor the toolkit says who it is.
        """
        return await self._service.authorizer.complete(callback_url, self._resolve(user_id, None))

    async def save_token_response(
        self,
        server: str,
        token_response: Mapping[str, Any],
        *,
        issuer: str,
        token_endpoint: str,
        client_id: str,
        client_secret: str | None = None,
        resource: str | None = None,
        revocation_endpoint: str | None = None,
        user_id: str | None = None,
    ) -> None:
        """Keep a login that was obtained elsewhere, for migrations and tests; it takes the place of any there is.

        Args:
            server: The toolkit's name for the MCP server.
            token_response: What the token endpoint answered (RFC 6749 §5.1); `expires_in` counts from now.
            issuer: The authorization server that gave it.
            token_endpoint: Where it is refreshed. Nothing else is asked of that server.
            client_id: The client it was given to.
            client_secret: Its secret, unless it is this server's configured client.
            resource: What it is for (RFC 8707). Default: the server's URL.
            revocation_endpoint: Where it is revoked when the user disconnects (RFC 7009). Default: it is only forgotten.
            user_id: Whose it is. Default: the toolkit's user.

        Raises:
            TokenEndpointError: it is no token response.
            UnsafeURLError: an endpoint is none that would be contacted.
            UnknownServerError, UserRequiredError, StoreError.
        """
        await self._service.authorizer.save_token_response(
            self._service.login_key(self._resolve(user_id, None), server),
            token_response,
            issuer=issuer,
            token_endpoint=token_endpoint,
            client_id=client_id,
            client_secret=client_secret,
            resource=resource,
            revocation_endpoint=revocation_endpoint,
        )

    async def save_credentials(self, server: str, values: Mapping[str, str], *, user_id: str | None = None) -> None:
        """Keep what a user supplies for a server whose configuration holds `{{NAME}}`: sealed, until `disconnect`.

        Args:
            server: The toolkit's name for the MCP server.
            values: By name; others that the user has given stay. White space around them is dropped.
            user_id: Whose. Default: the toolkit's user.

        Raises:
            ConfigurationError: a name that the server does not ask for, or a value that is not 1 to 8,192 characters of printable ASCII.
            UnknownServerError, UserRequiredError, StoreError.
        """
        await self._service.save_credentials(self._resolve(user_id, None), server, values)

    async def disconnect(self, server: str, *, user_id: str | None = None) -> bool:
        """Log this user out of a server: forget the tokens and the user's own values here, void open requests, close sessions, revoke at
        the issuer (RFC 7009).

        Returns:
            Whether the issuer was told. False if it offers no revocation, or could not be reached: then it is told later, by whichever
            process asks for a login next, for 30 days. The tokens are gone here all the same.
        """
        return await self._service.disconnect(self._resolve(user_id, None), server)

    async def accept_tools(self, server: str, changed: Mapping[str, str] | None = None, *, user_id: str | None = None) -> None:
        """Take a server's tools as they are now, where `pin_tools=True` has refused them. Nothing is asked of the server.

        Args:
            server: The toolkit's name for it.
            changed: `ToolsChanged.changed`: these very definitions, and no other that the server may have made up since. Default: whatever
                it lists next, all of it.
            user_id: For whom. Default: the toolkit's user; else for the listing that a graph is built with before there is a user.

        Raises:
            UnknownServerError, StoreError.
        """
        await self._service.accept_tools(self._whose(user_id, None), server, changed)

    async def status(self, *, user_id: str | None = None) -> dict[str, ServerStatus]:
        """This user's login at every server, from the store alone."""
        return await self._service.status(self._resolve(user_id, None))

    async def reachable(self) -> dict[str, bool]:
        """Which servers answer at all right now: one HEAD request each, without anybody's token, within 2 s; remembered for 30 s."""
        return await self._service.reachable()

    # What a tool needs (tools.Caller) ---------------------------------------------------------------------------------------

    def resolve_user(self, config: RunnableConfig | None) -> str:
        """Whose account a call uses: the toolkit's user, else the run's. Raises `UserRequiredError` when neither says."""
        return self._resolve(None, config)

    def asking(
        self,
        user_id: str,
        *,
        stage: str,
        server: str | None = None,
        tool_name: str | None = None,
        tool_call_id: str | None = None,
    ) -> Asking:
        """How a call asks a person."""
        return Asking(
            self.store,
            self._on_auth_required,
            lambda callback_url: self._service.authorizer.complete(callback_url, user_id),
            stage,
            tool_name,
            tool_call_id,
            LIMIT if stage != "list_tools" else LIMIT * max(1, len(self.servers)),
            lambda given: self._keep(given, user_id, server),
            on_elicitation=self._on_elicitation,
        )

    async def _keep(self, given: GivenCredentials, user_id: str, asked: str | None) -> None:
        await self._service.save_credentials(user_id, self._service.credentials.server_for(given.server, asked), given.values)

    async def list_tools(self, user_id: str, server: str) -> ListedTools:
        """What the server offers that user."""
        return await self._service.list_tools(user_id, server)

    async def call_tool(self, user_id: str, server: str, tool: str, arguments: dict[str, Any], beside: Beside = ALONE) -> ToolResult:
        """One MCP call as that user, by the names the server knows."""
        return await self._service.call_tool(user_id, server, tool, arguments, beside=beside)

    def run_sync(self, awaitable: Awaitable[Any]) -> Any:
        """Wait for an awaitable on the library's own event loop."""
        return run_sync(awaitable)

    # What the middleware needs ----------------------------------------------------------------------------------------------

    @property
    def lister(self) -> Lister:
        """Lists as this toolkit was told to."""
        return self._lister

    @property
    def service(self) -> Service:
        """What this toolkit shares with those made from it."""
        return self._service

    def make_tools(self, offers: Mapping[str, Offer]) -> list[BaseTool]:
        """The tools of what servers offer, in the order of the configuration."""
        tools: list[BaseTool] = []
        for name in self.servers:
            if name in offers:
                offer = offers[name]
                tools += make_tools(self, name, offer) if offer is not None else [make_connect_tool(self, name)]
        return tools

    # Ending -----------------------------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Close sessions and connections, and the store if this toolkit opened it. The logins stay."""
        try:
            await self._service.aclose()
        finally:
            if self._owns_store:
                await self.store.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.aclose()

    def _resolve(self, user_id: str | None, config: RunnableConfig | None) -> str:
        user = self._whose(user_id, config)
        if user is None:
            raise _user_required()
        return user

    def _whose(self, user_id: str | None, config: RunnableConfig | None) -> str | None:
        user = user_id if user_id is not None else self._user_id
        user = user if user is not None else user_of_run(config)
        return SERVICE if user is None and all(map(_is_nobodys, self.servers.values())) else user


def _is_nobodys(server: AnyServer) -> bool:
    return isinstance(server, MCPServer) and server.grant is not None and not server.grant.per_user


def _user_required() -> UserRequiredError:
    return UserRequiredError(
        "Nobody says whose account to use. Give the toolkit or the call a user_id, use toolkit.for_user(...), or run the graph "
        "with context={'user_id': ...} or configurable={'user_id': ...}."
    )


def _formatted(on_auth_required: OnAuthRequired, form: InterruptFormat) -> OnAuthRequired:
    if not callable(form):
        _check("interrupt_format", form, get_args(InterruptFormat)[0])
    if form != "native" and on_auth_required is not interrupt_run:
        raise ConfigurationError("interrupt_format is for interrupt_run; this on_auth_required makes no interrupts that it could shape.")
    return partial(interrupt_run, interrupt_format=form) if on_auth_required is interrupt_run else on_auth_required


def _check(option: str, value: object, allowed: object) -> None:
    if value not in get_args(allowed):
        raise ConfigurationError(f"{option} must be one of {', '.join(map(repr, get_args(allowed)))}, not {value!r}.")


def _open_store(store: TokenStore | str | None, encryption_key: EncryptionKey | None) -> TokenStore:
    if store is not None and not isinstance(store, str):
        return store
    from langchain_mcp_oauth.store import SQLModelTokenStore, default_database

    return SQLModelTokenStore(store or default_database(), encryption_key=encryption_key)
