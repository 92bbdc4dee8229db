"""Names we use of other libraries that do not promise to keep them: an upgrade that drops or changes one fails here, by its name."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest

FUNCTIONS = [
    ("mcp.client.auth.utils", "build_oauth_authorization_server_metadata_discovery_urls", ["auth_server_url", "server_url"]),
    ("mcp.client.auth.utils", "build_protected_resource_metadata_discovery_urls", ["www_auth_url", "server_url"]),
    ("mcp.client.auth.utils", "create_oauth_metadata_request", ["url"]),
    ("mcp.client.auth.utils", "issuers_match", ["a", "b"]),
    ("authlib.oauth2.auth", "ClientAuth", ["client_id", "client_secret", "auth_method"]),
    ("authlib.oauth2.rfc6749.parameters", "prepare_grant_uri", ["uri", "client_id", "response_type"]),
    ("authlib.oauth2.rfc7636", "create_s256_code_challenge", ["code_verifier"]),
]


@pytest.mark.parametrize(("module", "name", "parameters"), FUNCTIONS)
def test_functions(module: str, name: str, parameters: list[str]) -> None:
    """It is there, and begins with these parameters."""
    assert list(inspect.signature(getattr(import_module(module), name)).parameters)[: len(parameters)] == parameters


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("ProtectedResourceMetadata", ["resource", "authorization_servers", "scopes_supported"]),
        (
            "OAuthMetadata",
            [
                "issuer",
                "authorization_endpoint",
                "token_endpoint",
                "registration_endpoint",
                "revocation_endpoint",
                "scopes_supported",
                "grant_types_supported",
                "token_endpoint_auth_methods_supported",
                "code_challenge_methods_supported",
                "client_id_metadata_document_supported",
                "authorization_response_iss_parameter_supported",
            ],
        ),
    ],
)
def test_models(name: str, fields: list[str]) -> None:
    """Each field whose type we let the model check is one of its fields: a renamed one would silently go unchecked."""
    model = getattr(import_module("mcp.shared.auth"), name)
    assert set(fields) <= set(model.model_fields)
