"""The authorization server's HTTP endpoints: the SDK's own, plus what RFC 9207, RFC 8707, RFC 7009 and a person need."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlencode

from mcp.server.auth.handlers.authorize import AuthorizationHandler
from mcp.server.auth.handlers.register import RegistrationHandler
from mcp.server.auth.handlers.token import TokenHandler
from mcp.server.auth.middleware.client_auth import AuthenticationError, ClientAuthenticator
from mcp.server.auth.provider import TokenError, construct_redirect_uri
from mcp.server.auth.routes import build_metadata
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions, RevocationOptions
from starlette.datastructures import FormData, Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Message

from langchain_mcp_oauth.testing.authorization_server import AuthorizationServer
from langchain_mcp_oauth.testing.consent import consent_page, gone_page
from langchain_mcp_oauth.testing.silent_grants import JWT_BEARER, SilentGrants

__all__ = ["authorization_metadata", "authorization_routes"]

AUTH_METHODS = ["none", "client_secret_basic", "client_secret_post"]


def authorization_metadata(server: AuthorizationServer, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The RFC 8414 document; `changes` adds members, replaces them, or (with None) leaves them out."""
    issuer = AuthSettings.model_validate({"issuer_url": server.issuer, "resource_server_url": None}).issuer_url
    options = ClientRegistrationOptions(enabled=True)
    document = build_metadata(issuer, None, options, RevocationOptions(enabled=True)).model_dump(mode="json", exclude_none=True)
    document |= {
        "scopes_supported": server.known_scopes,
        "token_endpoint_auth_methods_supported": AUTH_METHODS,
        "revocation_endpoint_auth_methods_supported": AUTH_METHODS,
        "authorization_response_iss_parameter_supported": True,
        **changes,
    }
    return {name: value for name, value in document.items() if value is not None}


def authorization_routes(
    server: AuthorizationServer, *, name: str, metadata: Mapping[str, Any], silent: SilentGrants | None = None
) -> list[Route]:
    """Metadata, authorize, consent, token, register and revoke, at the root of the issuer's origin."""
    endpoints = _Endpoints(server, silent or SilentGrants(server), name, metadata)
    return [
        Route("/.well-known/oauth-authorization-server", endpoints.metadata),
        Route("/authorize", endpoints.authorize, methods=["GET", "POST"]),
        Route("/consent", endpoints.ask, methods=["GET"]),
        Route("/consent", endpoints.answer, methods=["POST"]),
        Route("/token", endpoints.token, methods=["POST"]),
        Route("/register", RegistrationHandler(server, ClientRegistrationOptions(enabled=True)).handle, methods=["POST"]),
        Route("/revoke", endpoints.revoke, methods=["POST"]),
    ]


class _Endpoints:
    def __init__(self, server: AuthorizationServer, silent: SilentGrants, name: str, metadata: Mapping[str, Any]) -> None:
        self._server = server
        self._silent = silent
        self._name = name
        self._metadata = metadata
        self._clients = ClientAuthenticator(server)
        self._authorize = AuthorizationHandler(server)
        self._token = TokenHandler(server, self._clients)

    async def metadata(self, request: Request) -> Response:
        return JSONResponse(authorization_metadata(self._server, self._metadata))

    async def authorize(self, request: Request) -> Response:
        response = await self._authorize.handle(request)
        location = response.headers.get("location")
        if location and not location.startswith(f"{self._server.issuer}/consent?"):
            # Error answers carry the issuer too (RFC 9207 §2); the SDK leaves it out.
            response.headers["location"] = construct_redirect_uri(location, iss=self._server.issuer)
        return response

    async def ask(self, request: Request) -> Response:
        return self._page(request.query_params.get("ticket", ""))

    async def answer(self, request: Request) -> Response:
        form = await request.form()
        ticket, user = str(form.get("ticket", "")), str(form.get("user", "")).strip()
        if form.get("decision") != "approve":
            location = self._server.deny(ticket)
        elif user:
            location = self._server.approve(ticket, subject=user, scopes=[str(scope) for scope in form.getlist("scope")])
        else:
            return self._page(ticket)
        # 303: the browser must not repeat the form at the callback (RFC 9700 §4.12).
        return RedirectResponse(location, 303, {"Cache-Control": "no-store"}) if location else gone_page(self._name)

    def _page(self, ticket: str) -> Response:
        question = self._server.question(ticket)
        return consent_page(self._name, ticket, question) if question else gone_page(self._name)

    async def token(self, request: Request) -> Response:
        form = _complete(await request.form(), request.headers)
        if form.get("resource") != self._server.resource:
            return JSONResponse({"error": "invalid_target"}, 400, {"Cache-Control": "no-store"})
        if form.get("grant_type") in {"client_credentials", JWT_BEARER}:
            return await self._silently(_replay(request, form), form)
        response: Response = await self._token.handle(_replay(request, form))
        return response

    async def _silently(self, request: Request, form: Mapping[str, str]) -> Response:
        headers = {"Cache-Control": "no-store"}
        try:
            token = await self._silent.answer(request, form)
        except TokenError as refusal:
            return JSONResponse({"error": refusal.error}, 401 if refusal.error == "invalid_client" else 400, headers)
        return JSONResponse(token.model_dump(mode="json", exclude_none=True), headers=headers)

    async def revoke(self, request: Request) -> Response:
        form = _complete(await request.form(), request.headers)
        try:
            client = await self._clients.authenticate_request(_replay(request, form))
        except AuthenticationError:
            return JSONResponse({"error": "invalid_client"}, 401)
        token = form.get("token", "")
        found = await self._server.load_access_token(token) or await self._server.load_refresh_token(client, token)
        if found and found.client_id == client.client_id:
            await self._server.revoke_token(found)
        return Response(headers={"Cache-Control": "no-store"})  # the same for unknown tokens (RFC 7009 §2.2)


def _complete(form: FormData, headers: Headers) -> dict[str, str]:
    """The form's fields, with `client_id` from HTTP Basic if it is only there: RFC 6749 §2.3.1 allows that, the SDK does not."""
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if "client_id" in fields or scheme.lower() != "basic":
        return fields
    try:
        client_id, _, _ = base64.b64decode(credentials).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return fields
    return {**fields, "client_id": unquote(client_id)}


def _replay(request: Request, form: dict[str, str]) -> Request:
    """The request as it would be with this form as its body."""

    async def receive() -> Message:
        return {"type": "http.request", "body": urlencode(form).encode(), "more_body": False}

    return Request(request.scope, receive)
