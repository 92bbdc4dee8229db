"""Every error this library raises.

    MCPOAuthError
    ├── ConfigurationError            what the application wrote cannot work
    │   ├── UnknownServerError        no server of that name in the toolkit
    │   └── UserRequiredError         nobody said whose account to use
    ├── PersonRequired                a person has to do something first; nothing is wrong
    │   ├── AuthRequired              open a URL
    │   └── CredentialsRequired       give values that only they have, such as an API key
    ├── AuthorizationError            an authorization did not come about
    │   ├── DiscoveryError            who guards the server could not be established
    │   ├── RegistrationError         the authorization server would not know us
    │   ├── TokenEndpointError        the token endpoint refused
    │   ├── AuthorizationDenied       the person, or the server on their behalf, said no
    │   ├── TokenRejectedError        the MCP server refuses the token it asked for
    │   ├── ScopeNotGrantedError      asked for often enough, never granted
    │   └── CallbackError             this callback does not belong to an open request
    │       ├── UnknownStateError     never asked, or too long ago to remember
    │       ├── RequestExpiredError   asked, but the answer came too late
    │       ├── RequestUsedError      this answer has been used before
    │       ├── WrongUserError        asked by somebody else
    │       └── IssuerMismatchError   answered by another authorization server (RFC 9207)
    ├── ConnectionFailed              a machine could not be reached or did not answer in time (retryable)
    │   └── ServerPaused              it has failed too often, and is left alone for a while (retryable)
    ├── UnsafeURLError                a URL or an address this library refuses to contact
    ├── ProtocolError                 an MCP server answered something that is not MCP
    ├── ToolsChanged                  a server describes a pinned tool in other words than before (`pin_tools=True`)
    ├── ServersFailed                 listing failed on some servers; carries one error for each
    └── StoreError                    the database
        ├── StoreUnavailable          it cannot be reached or is locked (retryable)
        ├── StoreVersionError         its tables are newer or older than this library's
        ├── StoreKeyError             sealed with a key that is not configured
        └── StoreCorruptError         a sealed value was changed or moved

Messages say what happened, where, and what to do next. They never hold a token, code, verifier, client secret or state, and never
text that another server wrote, except an OAuth error code of the registered form (RFC 6749 §5.2).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

__all__ = [
    "AuthRequired",
    "AuthorizationDenied",
    "AuthorizationError",
    "CallbackError",
    "ConfigurationError",
    "ConnectionFailed",
    "CredentialsRequired",
    "DiscoveryError",
    "IssuerMismatchError",
    "MCPOAuthError",
    "PersonRequired",
    "ProtocolError",
    "RegistrationError",
    "RequestExpiredError",
    "RequestUsedError",
    "ScopeNotGrantedError",
    "ServerPaused",
    "ServersFailed",
    "StoreCorruptError",
    "StoreError",
    "StoreKeyError",
    "StoreUnavailable",
    "StoreVersionError",
    "TokenEndpointError",
    "TokenRejectedError",
    "ToolsChanged",
    "UnknownServerError",
    "UnknownStateError",
    "UnsafeURLError",
    "UserRequiredError",
    "WrongUserError",
]


class MCPOAuthError(Exception):
    """Base class of every error of this library; never raised itself.

    `retryable` is true when the same call may succeed later without anybody doing anything; `retry_after` is then the number of
    seconds the other side asked us to wait, where it said so. `code` is a short stable word for logs and tests.
    """

    code: ClassVar[str] = "mcp_oauth_error"
    retryable: bool = False
    retry_after: float | None = None


class ConfigurationError(MCPOAuthError, ValueError):
    """What the application wrote cannot work; the message names the option."""

    code = "configuration"


class UnknownServerError(ConfigurationError):
    """The toolkit has no server of that name; the message lists those it has."""

    code = "unknown_server"

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        self.name, self.known = name, tuple(sorted(known))
        super().__init__(f"No MCP server is called {name!r} in this toolkit; it has: {', '.join(self.known) or 'none'}.")

    def __reduce__(self) -> tuple[Any, ...]:
        return UnknownServerError, (self.name, self.known)


class UserRequiredError(ConfigurationError):
    """Neither the toolkit nor the call says whose account to use. A shared identity is never assumed."""

    code = "user_required"


class PersonRequired(MCPOAuthError):
    """A call cannot go on before a person has done something. Nothing is wrong and nothing is held open; never raised itself.

    Attributes:
        server: The toolkit's name for the MCP server.
        attempt: How often this call has asked, from 1.
        stage: What the call was about to do: `list_tools`, `call_tool`, …
        tool_name: The tool, where there is one.
        tool_call_id: The model's id of the call, where there is one.
        requests: One event for each thing, where several are asked for at once (`MCPOAuthMiddleware`); this one is the first of them.
    """

    code = "person_required"

    def __init__(self, message: str, *, server: str, attempt: int, stage: str, tool_name: str | None, tool_call_id: str | None) -> None:
        super().__init__(message)
        self.server = server
        self.attempt = attempt
        self.stage = stage
        self.tool_name = tool_name
        self.tool_call_id = tool_call_id
        self._beside: tuple[PersonRequired, ...] | None = None

    @property
    def requests(self) -> tuple[PersonRequired, ...]:
        """All that are asked for at once, this one first; nothing where it is asked for alone."""
        return () if self._beside is None else (self, *self._beside)

    @staticmethod
    def together(requests: Sequence[PersonRequired]) -> PersonRequired:
        """The first, with all of them as its `requests`: what is asked for at once. Logins come before the rest, in order."""
        first, *others = sorted(requests, key=lambda one: not isinstance(one, AuthRequired))
        first._beside = tuple(others)  # noqa: SLF001 - one of us
        return first

    def payload(self) -> dict[str, Any]:
        """The interrupt's value: a flat dict of JSON primitives (no user, token, verifier or secret); with `requests`, that member is a
        list of such dicts, and the message is that of all. See the documentation."""
        if not self.requests:
            return self._shown()
        shown = [{**one._shown(), "stage": self.stage, "attempt": self.attempt} for one in self.requests]  # noqa: SLF001
        return {**shown[0], "message": " ".join(one["message"] for one in shown), "requests": shown}

    def _shown(self) -> dict[str, Any]:
        """What of this one alone is shown."""
        raise NotImplementedError

    def _place(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("stage", "tool_name", "tool_call_id", "attempt")}


class AuthRequired(PersonRequired):
    """A person has to open `authorization_url` before the call can go on. Nothing is wrong and nothing is held open.

    Raised twice for the same need it names the same open request: same `auth_id`, same URL, until `expires_at`. The URL carries the
    request's `state`, so it is not part of the message or the `repr`; hand it to the person, not to a log.

    Attributes:
        authorization_url: What the person opens. At most 16 KiB, http only on loopback.
        server: The toolkit's name for the MCP server.
        resource: The RFC 8707 resource the token will be for.
        issuer: The authorization server, for the person to recognise.
        scopes: What is asked for, in order; empty when the server's default is asked for.
        reason: `login`, `expired`, `step_up`, `client_rejected` or `issuer_changed`.
        auth_id: Public handle of the open request; not the OAuth `state`.
        expires_at: Aware UTC; a later answer is refused and a new URL is needed.
        attempt, stage, tool_name, tool_call_id, requests: As for `PersonRequired`.
        user_code: What the person enters at `authorization_url`, where no browser can come back (RFC 8628); show both. None: nothing.
    """

    code = "auth_required"

    def __init__(
        self,
        *,
        authorization_url: str,
        server: str,
        resource: str,
        issuer: str,
        scopes: tuple[str, ...],
        reason: str,
        auth_id: str,
        expires_at: datetime,
        attempt: int = 1,
        stage: str = "call_tool",
        tool_name: str | None = None,
        tool_call_id: str | None = None,
        complete: Callable[[str], Awaitable[object]] | None = None,
        user_code: str | None = None,
    ) -> None:
        super().__init__(
            f"{server!r} needs a person to authorize at {issuer} ({_REASONS.get(reason, reason)}). "
            "Open this error's `authorization_url`, then make the call again.",
            server=server,
            attempt=attempt,
            stage=stage,
            tool_name=tool_name,
            tool_call_id=tool_call_id,
        )
        self.authorization_url = authorization_url
        self.resource = resource
        self.issuer = issuer
        self.scopes = scopes
        self.reason = reason
        self.auth_id = auth_id
        self.expires_at = expires_at
        self.user_code = user_code
        self._complete = complete

    async def complete(self, callback_url: str) -> None:
        """Redeem the URL that the browser came back to, for the user of this call: what a notebook does with a pasted URL.

        Raises:
            CallbackError, AuthorizationDenied, TokenEndpointError, ConnectionFailed: as `MCPOAuthToolkit.complete_authorization`.
            ConfigurationError: this event was made without a toolkit, e.g. unpickled; use the toolkit's method.
        """
        if self._complete is None:
            raise ConfigurationError("This AuthRequired has lost its toolkit; call complete_authorization() on one.")
        await self._complete(callback_url)

    def _shown(self) -> dict[str, Any]:
        code = f" Enter the code {self.user_code} there." if self.user_code is not None else ""
        payload = {
            "type": "mcp_auth_required",
            "version": 1,
            "message": f"Authorize access to {self.server!r} at {self.issuer}, then continue.{code}",
            "authorization_url": self.authorization_url,
            "server": self.server,
            "resource": self.resource,
            "issuer": self.issuer,
            "scopes": list(self.scopes),
            "reason": self.reason,
            "auth_id": self.auth_id,
            "expires_at": int(self.expires_at.timestamp()),
            **self._place(),
        }
        if self.user_code is not None:
            payload["user_code"] = self.user_code
        return payload

    def _fields(self) -> dict[str, Any]:
        names = ("authorization_url", "server", "resource", "issuer", "scopes", "reason", "auth_id", "expires_at", "user_code")
        return {**{name: getattr(self, name) for name in names}, **self._place()}

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore_auth_required, (self._fields(),), {"_beside": self._beside}


_REASONS = {
    "login": "no login yet",
    "expired": "the login has expired",
    "step_up": "the call needs more scopes",
    "client_rejected": "the authorization server no longer knows this client",
    "issuer_changed": "the server moved to another authorization server",
}


def _restore_auth_required(fields: dict[str, Any]) -> AuthRequired:
    return AuthRequired(**fields)


class CredentialsRequired(PersonRequired):
    """A person has to give values that only they have, such as an API key, before the call can go on.

    Best answered by the application, with `await toolkit.save_credentials(server, {name: value}, user_id=...)`, and the run resumed. A run
    can also be resumed with `{"credentials": {name: value}, "server": server}`, which LangGraph then writes into the checkpoint.

    Attributes:
        names: What is missing, in the order of the configuration.
        descriptions: What the operator tells the person about each (`variables`); empty text where nothing.
        reason: `missing`, or `rejected`: the server refused the values there are.
        attempt, server, stage, tool_name, tool_call_id, requests: As for `PersonRequired`.
    """

    code = "credentials_required"

    def __init__(
        self,
        *,
        server: str,
        names: tuple[str, ...],
        descriptions: tuple[str, ...],
        reason: str,
        attempt: int = 1,
        stage: str = "call_tool",
        tool_name: str | None = None,
        tool_call_id: str | None = None,
        save: Callable[[Mapping[str, str]], Awaitable[object]] | None = None,
    ) -> None:
        why = "are not known yet" if reason == "missing" else "were refused"
        super().__init__(
            f"{server!r} needs values of this user's own that {why}: {', '.join(names)}. "
            "Keep them with toolkit.save_credentials(...), then make the call again.",
            server=server,
            attempt=attempt,
            stage=stage,
            tool_name=tool_name,
            tool_call_id=tool_call_id,
        )
        self.names = names
        self.descriptions = descriptions
        self.reason = reason
        self._save = save

    async def save(self, values: Mapping[str, str]) -> None:
        """Keep these values, for the user of this call.

        Raises:
            ConfigurationError: a value that cannot be sent, or of a name that is not asked for; or this event was made without a toolkit,
                e.g. unpickled: use `MCPOAuthToolkit.save_credentials`.
            StoreError.
        """
        if self._save is None:
            raise ConfigurationError("This CredentialsRequired has lost its toolkit; call save_credentials() on one.")
        await self._save(values)

    def _shown(self) -> dict[str, Any]:
        wanted = (f"{name} ({text})" if text else name for name, text in zip(self.names, self.descriptions, strict=True))
        return {
            "type": "mcp_credentials_required",
            "version": 1,
            "message": f"Give what {self.server!r} needs from you, then continue: {'; '.join(wanted)}.",
            "server": self.server,
            "names": list(self.names),
            "descriptions": list(self.descriptions),
            "reason": self.reason,
            **self._place(),
        }

    def __reduce__(self) -> tuple[Any, ...]:
        fields = ("server", "names", "descriptions", "reason", "attempt", "stage", "tool_name", "tool_call_id")
        return _restore_credentials_required, ({name: getattr(self, name) for name in fields},), {"_beside": self._beside}


def _restore_credentials_required(fields: dict[str, Any]) -> CredentialsRequired:
    return CredentialsRequired(**fields)


class AuthorizationError(MCPOAuthError):
    """An authorization did not come about. `oauth_error` is the other server's error code, if it sent a well-formed one."""

    code = "authorization"

    def __init__(self, message: str, *, oauth_error: str | None = None) -> None:
        super().__init__(message)
        self.oauth_error = oauth_error


class DiscoveryError(AuthorizationError):
    """Who guards the MCP server could not be established. Nothing is guessed (RFC 9728, RFC 8414)."""

    code = "discovery"


class RegistrationError(AuthorizationError):
    """There is no way to be a client of this authorization server, or it refused to register us (RFC 7591 §3.2.2)."""

    code = "registration"


class TokenEndpointError(AuthorizationError):
    """The token endpoint refused (RFC 6749 §5.2); see `oauth_error`."""

    code = "token_endpoint"


class AuthorizationDenied(AuthorizationError):
    """The authorization server answered with an error instead of a code (RFC 6749 §4.1.2.1), e.g. `access_denied`."""

    code = "authorization_denied"


class TokenRejectedError(AuthorizationError):
    """The MCP server refuses what it was shown: a token fresh from its own authorization server, or the operator's own credentials.
    Asking a person would not help."""

    code = "token_rejected"


class ScopeNotGrantedError(AuthorizationError):
    """The needed scopes were asked for as often as is sensible and were not granted."""

    code = "scope_not_granted"


class CallbackError(AuthorizationError):
    """A callback that completes nothing. The open request, if there is one, is unchanged."""

    code = "callback"


class UnknownStateError(CallbackError):
    """No request of ours has this state."""

    code = "unknown_state"


class RequestExpiredError(CallbackError):
    """The answer came after the request's lifetime; start again for a new URL."""

    code = "request_expired"


class RequestUsedError(CallbackError):
    """The request was already completed, refused or replaced by a newer one."""

    code = "request_used"


class WrongUserError(CallbackError):
    """The request belongs to another user than the one who brings the answer."""

    code = "wrong_user"


class IssuerMismatchError(CallbackError):
    """The answer does not come from the authorization server that was asked (RFC 9207 §2.4)."""

    code = "issuer_mismatch"


class ConnectionFailed(MCPOAuthError):
    """A server could not be reached, did not answer in time, or answered 429 or 5xx. Nothing stored was changed."""

    code = "connection_failed"
    retryable = True

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServerPaused(ConnectionFailed):
    """A server has failed this user three times within two minutes, and is left alone: for 30 seconds at first, then for twice as long
    each time it fails again, five minutes at most. Nothing was sent. `retry_after` is what is left of the pause, in seconds; a call that
    succeeds, or a new login, ends it."""

    code = "server_paused"


class UnsafeURLError(MCPOAuthError):
    """A URL, or an address that a name resolved to, that this library refuses to contact or to show to a person."""

    code = "unsafe_url"


class ProtocolError(MCPOAuthError):
    """An MCP server's answer is not MCP, is too large, or reports a protocol error."""

    code = "protocol"


class ToolsChanged(MCPOAuthError):
    """A server's tools are not as they were pinned (`pin_tools=True`). None of them is handed out until somebody accepts the change:
    `await toolkit.accept_tools(error.server, error.changed, user_id=...)`.

    Attributes:
        server: The toolkit's name for the MCP server.
        changed: The new definitions' fingerprints by the tools' own names. A fingerprint is `pinning.fingerprint`'s, 64 characters.
    """

    code = "tools_changed"

    def __init__(self, server: str, changed: Mapping[str, str]) -> None:
        self.server, self.changed = server, dict(changed)
        names = [re.sub("[^A-Za-z0-9_-]", "_", name)[:64] for name in self.changed]
        others = f" and {len(names) - 5} more" if len(names) > 5 else ""
        super().__init__(
            f"{server!r} has changed what it says of its tools since they were pinned: {', '.join(names[:5])}{others}. "
            "If that is as it should be, accept it with `toolkit.accept_tools(server, error.changed)`."
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return ToolsChanged, (self.server, self.changed)


class ServersFailed(MCPOAuthError):
    """Some servers could not list their tools. `errors` maps each server's name to its error; the others were fine."""

    code = "servers_failed"

    def __init__(self, errors: Mapping[str, Exception]) -> None:
        self.errors = dict(errors)
        lines = "".join(f"\n  {name}: {error}" for name, error in sorted(self.errors.items()))
        super().__init__(f"{len(self.errors)} MCP server(s) could not list their tools:{lines}")
        self.retryable = all(getattr(error, "retryable", False) for error in self.errors.values())

    def __reduce__(self) -> tuple[Any, ...]:
        return ServersFailed, (self.errors,)


class StoreError(MCPOAuthError):
    """The token store failed."""

    code = "store"


class StoreUnavailable(StoreError):
    """The database cannot be reached, is locked, full or read-only. Nothing was changed."""

    code = "store_unavailable"
    retryable = True


class StoreVersionError(StoreError):
    """The tables are not those of this library: newer (upgrade the library), or older or missing (`langchain-mcp-oauth db upgrade`)."""

    code = "store_version"


class StoreKeyError(StoreError):
    """A row was sealed with a key that is not configured. Nothing was deleted; configure the key and go on."""

    code = "store_key"


class StoreCorruptError(StoreError):
    """A sealed value does not belong to its row: it was changed, or moved from another. Nothing was deleted."""

    code = "store_corrupt"
