"""What can be configured for one MCP server, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from joserfc.jwk import ECKey
from pydantic import SecretStr

from langchain_mcp_oauth.errors import ConfigurationError
from langchain_mcp_oauth.grants.client_credentials import ClientCredentials
from langchain_mcp_oauth.grants.enterprise import EnterpriseManaged
from langchain_mcp_oauth.grants.workload import WorkloadIdentity
from langchain_mcp_oauth.servers.remote import MCPServer, StdioServer, parse_servers

URL = "https://mcp.example.com/mcp"
CANARY = "canary-7f3a9"


def refusal(*args: Any, **options: Any) -> str:
    with pytest.raises(ConfigurationError) as error:
        MCPServer(*args, **options)
    assert error.value.__suppress_context__
    return str(error.value)


def test_only_the_url_is_needed() -> None:
    """Everything else has a safe default, and the text of the URL stays as it is."""
    server = MCPServer("https://MCP.example.com:443/mcp?tenant=1")
    assert server.url == "https://MCP.example.com:443/mcp?tenant=1"
    assert (server.scopes, server.client_id, server.issuer, server.assume_pkce, server.start) == (None, None, None, False, "anonymous")


@pytest.mark.parametrize("url", [URL, "http://localhost:8000/mcp", "http://127.0.0.1/mcp", "http://[::1]:1/", "https://10.0.0.1/mcp"])
def test_urls(url: str) -> None:
    """https anywhere, http on loopback for development; also for the issuer."""
    assert MCPServer(url, issuer=url).issuer == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mcp.example.com",
        "/mcp",
        "http://mcp.example.com/mcp",
        "http://localhost.evil.example/",
        "ftp://mcp.example.com/",
        "javascript:alert(1)",
        f"https://user:{CANARY}@mcp.example.com/",
        f"https://mcp.example.com/#{CANARY}",
        f"https://mcp.example.com/ {CANARY}",
        "https://mcp.example.com:65536/",
        "https://[::1/",
        "https://127.1/",
    ],
)
@pytest.mark.parametrize("option", ["url", "issuer"])
def test_urls_that_cannot_work(option: str, url: str) -> None:
    """The same rule as for URLs from the network; the message names the option and repeats nothing of it."""
    message = refusal(**{"url": URL, option: url})
    assert message.startswith(f"This MCP server's options cannot work: {option}: ")
    assert CANARY not in message


@pytest.mark.parametrize("url", ["https://app.example.com/client.json", "https://app.example.com/a/"])
def test_a_client_metadata_document(url: str) -> None:
    """OAuth Client ID Metadata Document §3: https and a path."""
    assert MCPServer(URL, client_metadata_url=url).client_metadata_url == url


@pytest.mark.parametrize(
    "url", ["https://app.example.com", "https://app.example.com/", "http://localhost/client.json", "https://u@h/c", "x"]
)
def test_a_client_metadata_document_that_cannot_work(url: str) -> None:
    """Neither a bare origin, nor http, nor with a user."""
    assert "client_metadata_url: " in refusal(URL, client_metadata_url=url)


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_authorization_is_the_logins_to_set(name: str) -> None:
    """Who sets it has no login, and says so by setting it; both at once is a mistake. The value is not repeated."""
    message = refusal(URL, headers={name: f"Bearer {CANARY}"}, auth="oauth")
    assert "headers" in message
    assert CANARY not in message
    assert "oauth_headers" in refusal(URL, oauth_headers={name: "Bearer x"})
    server = MCPServer(URL, headers={name: f"Bearer {CANARY}"})
    assert not server.uses_oauth
    assert CANARY not in repr(server)
    assert MCPServer(URL, headers={"X-Key": "x"}).uses_oauth
    assert not MCPServer(URL, auth="none").uses_oauth


def test_a_secret_needs_its_client_and_its_issuer() -> None:
    """A hostile server must not be able to have a configured secret sent to an authorization server of its choice."""
    secret = SecretStr(CANARY)
    assert "client_id" in refusal(URL, client_secret=secret)
    message = refusal(URL, client_id="mine", client_secret=secret)
    assert "issuer" in message
    assert CANARY not in message
    assert MCPServer(URL, client_id="mine", client_secret=secret, issuer="https://as.example.com").client_secret == secret
    assert MCPServer("http://localhost:8000/mcp", client_id="mine", client_secret=secret).issuer is None


@pytest.mark.parametrize(
    ("option", "names"),
    [
        (
            "authorization_parameters",
            "response_type client_id redirect_uri scope state code_challenge code_challenge_method resource request request_uri "
            "response_mode State",
        ),
        (
            "token_parameters",
            "grant_type code code_verifier redirect_uri refresh_token resource client_id client_secret client_assertion Client_Secret",
        ),
    ],
)
def test_what_is_ours_to_set_is_refused(option: str, names: str) -> None:
    """No option can replace state, PKCE, the redirect URI or what is redeemed; in whatever case, since some servers ignore it."""
    for name in names.split():
        assert f"must not hold {name}" in refusal(URL, **{option: {name: CANARY}})
    assert getattr(MCPServer(URL, **{option: {"audience": "x"}}), option) == {"audience": "x"}


def test_only_prompt_can_be_left_out() -> None:
    """None would otherwise look like a value that was forgotten."""
    assert MCPServer(URL, authorization_parameters={"prompt": None}).authorization_parameters == {"prompt": None}
    assert "only `prompt`" in refusal(URL, authorization_parameters={"audience": None})


METADATA = {
    "issuer": "https://as.example.com",
    "authorization_endpoint": "https://as.example.com/a",
    "token_endpoint": "https://t.example/",
}


@pytest.mark.parametrize(
    "broken",
    [
        {"issuer": None},
        {"issuer": "as.example.com"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"token_endpoint": "http://as.example.com/t"},
        {"token_endpoint": 7},
        {"revocation_endpoint": "ftp://as.example.com/r"},
    ],
)
def test_metadata_that_cannot_work(broken: dict[str, Any]) -> None:
    """What is written obeys the rule for what is found."""
    assert next(iter(broken)) in refusal(URL, authorization_server={**METADATA, **broken})


def test_metadata_names_the_issuer() -> None:
    """It is the only authorization server then, also for a secret."""
    server = MCPServer(URL, authorization_server=METADATA, client_id="mine", client_secret=CANARY)
    assert server.issuer == METADATA["issuer"]
    assert server.configured_urls == (URL, *METADATA.values())
    assert "issuer" in refusal(URL, authorization_server=METADATA, issuer="https://other.example.com")


def test_clients_belong_to_their_issuers() -> None:
    """Each to its own, compared exactly; one client has one place."""
    clients = {"https://a.example": {"client_id": "a", "client_secret": CANARY}, "https://b.example": {"client_id": "b"}}
    server = MCPServer(URL, clients=clients)
    found = [server.client_at(issuer) for issuer in ("https://a.example", "https://b.example", "https://a.example/")]
    assert [client and client.client_id for client in found] == ["a", "b", None]
    assert CANARY not in repr(server)
    assert "issuers" in refusal(URL, clients={"a.example": {"client_id": "a"}})
    assert "client_id" in refusal(URL, clients=clients, client_id="c")
    assert "clients" in refusal(URL, clients={"https://a.example": {"client_id": "a", "secret": CANARY}})


async def nothing(*_: str) -> str:
    raise NotImplementedError


def enterprise(endpoint: str = "https://idp.example.com/token") -> EnterpriseManaged:
    return EnterpriseManaged(id_token=nothing, idp_token_endpoint=endpoint, idp_client_id="app", idp_client_secret=CANARY)


KEY_PEM = ECKey.generate_key("P-256").as_pem(private=True).decode()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"private_key": KEY_PEM}, "private_key needs client_id"),
        ({"private_key": KEY_PEM, "client_id": "mine"}, "private_key needs issuer"),
        ({"private_key": KEY_PEM, "client_secret": CANARY, "client_id": "mine", "issuer": URL}, "exclude each other"),
        ({"private_key": f"-----BEGIN {CANARY}", "client_id": "mine", "issuer": URL}, "private_key: "),
        ({"private_key": f'{{"kty": "oct", "k": "{CANARY}"}}', "client_id": "mine", "issuer": URL}, "private_key: "),
        ({"private_key": f'{{"kty": "{CANARY}', "client_id": "mine", "issuer": URL}, "private_key: "),
        ({"grant": ClientCredentials()}, "ClientCredentials needs client_id"),
        ({"grant": ClientCredentials(), "client_id": "mine", "issuer": URL}, "ClientCredentials needs client_id, and client_secret"),
        ({"grant": WorkloadIdentity(nothing)}, "WorkloadIdentity needs issuer"),
        ({"grant": enterprise()}, "EnterpriseManaged needs issuer"),
        ({"grant": enterprise(), "issuer": URL}, "EnterpriseManaged needs client_id"),
        ({"grant": enterprise("http://idp.example.com/token"), "issuer": URL, "client_id": "mine"}, "idp_token_endpoint is refused"),
        ({"grant": "client_credentials"}, "grant"),
    ],
)
def test_clients_and_grants_that_cannot_work(options: dict[str, Any], problem: str) -> None:
    """What belongs together is said when it is configured, and no secret with it."""
    message = refusal(URL, **options)
    assert problem in message
    assert CANARY not in message
    assert "BEGIN" not in message
    assert CANARY not in repr(enterprise())


def test_unknown_options_are_refused() -> None:
    """A mis-spelled option is not silently ignored; its value may be a secret."""
    message = refusal(URL, client_secrets=CANARY)
    assert "client_secrets" in message
    assert CANARY not in message


def test_secrets_are_starred() -> None:
    """Neither secret nor header values show in a `repr`."""
    server = MCPServer(URL, client_id="x", client_secret=CANARY, issuer="https://as.example.com", headers={"X-Api-Key": CANARY})
    assert CANARY not in repr(server)
    assert CANARY not in str(server)


def test_three_ways_to_write_a_server() -> None:
    """A URL, a dict of the fields, or the object."""
    server = MCPServer(URL, scopes=["read"])
    assert parse_servers({"a": URL, "b": {"url": URL, "scopes": ["read"]}, "c": server}) == {"a": MCPServer(URL), "b": server, "c": server}


@pytest.mark.parametrize("name", ["", "a\0b", "a\ud800", "x" * 256, 7])
def test_names_that_cannot_work(name: Any) -> None:
    """1 to 255 characters without NUL; compared exactly ever after."""
    with pytest.raises(ConfigurationError, match="name"):
        parse_servers({name: URL})


@pytest.mark.parametrize("value", [None, 7, {}, {"scopes": ["read"]}, [URL]])
def test_values_that_are_no_server(value: Any) -> None:
    """The message names the server and what would do."""
    with pytest.raises(ConfigurationError, match="'files' must be a URL"):
        parse_servers({"files": value})


# Placeholders -----------------------------------------------------------------------------------------------------------------


def test_the_environment_is_put_in_when_a_server_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everywhere the operator may keep a secret; a value is not looked at again, and no `repr` shows it."""
    monkeypatch.setenv("HOST", "mcp.example.com")
    monkeypatch.setenv("KEY", f"{CANARY}${{HOST}}")
    server = MCPServer("https://${HOST}/mcp", headers={"X-Key": "${KEY}!"}, query={"k": SecretStr("${KEY}")})
    assert server.url == URL
    assert server.headers is not None
    assert server.headers["X-Key"].get_secret_value() == f"{CANARY}${{HOST}}!"
    assert server.query["k"].get_secret_value() == f"{CANARY}${{HOST}}"
    program = StdioServer(command="run", args=["--key", "${KEY}"], env={"A": "$HOST ${HOST}"})
    assert program.args == ("--key", f"{CANARY}${{HOST}}")
    assert program.env["A"].get_secret_value() == "$HOST mcp.example.com"
    assert CANARY not in repr((server, program))


@pytest.mark.parametrize("name", ["LANGCHAIN_MCP_OAUTH_KEY", "NOT_SET_ANYWHERE"])
def test_environment_variables_that_are_not_sent(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """This library's own secrets; and one that is not set, since a server would get the placeholder."""
    monkeypatch.setenv("LANGCHAIN_MCP_OAUTH_KEY", CANARY)
    message = refusal(URL, headers={"X-Key": f"${{{name}}}"})
    assert "headers" in message
    assert name in message
    assert CANARY not in message


def test_what_each_user_supplies() -> None:
    """Every `{{NAME}}` once, in order, described or not."""
    headers = {"Authorization": "Bearer {{KEY}}", "X-Two": "{{REGION}} {{KEY}} {{not this}} {no}"}
    server = MCPServer(URL, headers=headers, query={"q": "{{Q}}"}, variables={"KEY": "from your settings"})
    assert server.names == ("KEY", "REGION", "Q")
    assert StdioServer(command="run", args=["{{A}}"], env={"X": "{{B}}"}).names == ("A", "B")
    assert MCPServer(URL).names == ()


def test_placeholders_that_cannot_work() -> None:
    """A URL that is another for each user would be another server; a description of nothing is a mistake in writing."""
    assert "url: " in refusal("https://mcp.example.com/{{TENANT}}")
    assert "variables describes TYPO" in refusal(URL, variables={"TYPO": ""}, headers={"X": "{{KEY}}"})


@pytest.mark.parametrize("value", ["", "   ", "a\nb: c", "a\0b", "kéy", "x" * 8_193, 5])
def test_values_that_cannot_be_sent(value: Any) -> None:
    """Nothing that could end a header, and nothing that is surely a mistake in pasting; the value is not repeated."""
    with pytest.raises(ConfigurationError) as refused:
        MCPServer(URL, headers={"X": "{{KEY}}"}).check({"KEY": value})
    assert str(refused.value).startswith("The value of KEY must be")


def test_values_as_they_are_kept() -> None:
    """Without the white space of pasting; for a name that is asked for."""
    server = MCPServer(URL, headers={"X": "{{KEY}}"})
    assert server.check({"KEY": " k-1\n"}) == {"KEY": SecretStr("k-1")}
    with pytest.raises(ConfigurationError, match="does not ask for OTHER, but for KEY"):
        server.check({"OTHER": "x"})


def test_kinds_of_servers_by_their_options() -> None:
    """A URL or a command says which; the words of other libraries for the transports are understood."""
    parsed = parse_servers(
        {
            "http": {"transport": "streamable_http", "url": URL},
            "sse": {"transport": "sse", "url": URL},
            "program": {"transport": "stdio", "command": "npx", "args": ["-y", "x"]},
        }
    )
    assert (parsed["http"], parsed["sse"]) == (MCPServer(URL), MCPServer(URL, transport="sse"))
    assert parsed["program"] == StdioServer(command="npx", args=["-y", "x"])
    assert parsed["program"].url == "stdio:npx"
    with pytest.raises(ConfigurationError, match="`url` or `command`"):
        parse_servers({"x": {"transport": "websocket", "command": "npx"}})


@pytest.mark.parametrize("args", [["{{PATH}}"], ["serve", "{{PATH}}/data"]])
def test_a_users_value_is_no_option_of_a_program(args: list[str]) -> None:
    """Where a value begins an argument it begins with no dash; within one it may (control)."""
    with pytest.raises(ConfigurationError, match="dash"):
        StdioServer(command="x", args=args).check({"PATH": "--config=/etc/passwd"})
    assert StdioServer(command="x", args=["--path={{PATH}}"]).check({"PATH": "-a"})
