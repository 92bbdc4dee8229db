"""The client that the conformance suite runs, on the public API alone: `python client.py [--apart] URL`.

It lists the tools of the suite's MCP server and calls them, and authorizes whenever it is asked to. With `--apart` every step (use the
tools, redeem an answer) happens in a process of its own, and the steps have nothing but a SQLite file in common.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import secrets
import sys
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2

from langchain_mcp_oauth import (
    AuthRequired,
    ClientCredentials,
    EnterpriseManaged,
    MCPOAuthError,
    MCPOAuthToolkit,
    ServersFailed,
    UnsafeURLError,
    WorkloadIdentity,
)

TURNS = 20
"""More steps than any scenario needs."""

REDIRECT_URI = "http://localhost:3000/callback"
CLIENT_METADATA_URL = "https://conformance-test.local/client-metadata.json"

OPTIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "auth/2025-03-26-oauth-endpoint-fallback": lambda _: {"default_endpoints": True},
    "auth/client-credentials-basic": lambda _: {"grant": ClientCredentials()},
    "auth/client-credentials-jwt": lambda context: {"grant": ClientCredentials(), "private_key": context["private_key_pem"]},
    "auth/enterprise-managed-authorization": lambda context: {
        "grant": EnterpriseManaged(
            id_token=id_token, idp_token_endpoint=context["idp_token_endpoint"], idp_client_id=context["idp_client_id"]
        )
    },
    "auth/wif-jwt-bearer": lambda _: {"grant": WorkloadIdentity(platform_jwt)},
}
"""What the server of a scenario needs to be told, made of what the suite tells us; all others go by what they publish."""

ONLY_LISTED = {"json-schema-ref-no-deref"}
"""Servers that do not implement the tools they list."""

Step = Callable[..., Coroutine[Any, Any, Any]]


@dataclass(frozen=True)
class Application:
    """What the steps have in common."""

    server: dict[str, Any]
    database: str
    key: str
    allowed_private_hosts: frozenset[str] = frozenset()

    def toolkit(self) -> MCPOAuthToolkit:
        return MCPOAuthToolkit(
            {"suite": self.server},
            store=self.database,
            encryption_key=self.key,
            redirect_uri=REDIRECT_URI,
            user_id="alice",
            allowed_private_hosts=self.allowed_private_hosts,
            schema_profile=lambda schema: schema,  # the suite wants it whole
        )

    def allowing(self, refusal: UnsafeURLError) -> Application:
        """Do what the refusal says: name exactly this host and port. The suite's authorization servers get their ports as they start."""
        named = re.match(r"(localhost:\d+) is not contacted", str(refusal))
        if named is None or named[1] in self.allowed_private_hosts:
            raise refusal
        return replace(self, allowed_private_hosts=self.allowed_private_hosts | {named[1]})


class ToolFailed(Exception):
    """A tool's message to the model was that it failed."""


async def use_tools(application: Application) -> list[str]:
    """Make the scenario's calls; return what the tools said."""
    async with application.toolkit() as toolkit:
        tools = {tool.mcp_tool: tool for tool in await list_tools(toolkit)}
        calls = [] if os.environ["MCP_CONFORMANCE_SCENARIO"] in ONLY_LISTED else choose_calls(tools)
        messages = [await tools[name].ainvoke({"type": "tool_call", "id": "1", "name": name, "args": args}) for name, args in calls]
    for message in messages:
        if message.status == "error":
            raise ToolFailed(message.text)
    return [message.text for message in messages]


async def list_tools(toolkit: MCPOAuthToolkit) -> list[Any]:
    try:
        return await toolkit.aget_tools()
    except ServersFailed as failed:
        raise failed.errors["suite"] from None


def choose_calls(tools: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The calls the suite names, else one of each tool."""
    if "toolCalls" in given():
        return [(call["name"], call["arguments"]) for call in given()["toolCalls"]]
    return [(name, choose_arguments(name, tools)) for name in tools]


def choose_arguments(name: str, tools: dict[str, Any]) -> dict[str, Any]:
    match name:
        case "add_numbers":
            return {"a": 2, "b": 3}
        case "json_schema_echo":
            return {"schema": tools["json_schema_2020_12_tool"].args_schema}
        case _:
            return {}


def given() -> dict[str, Any]:
    """What the suite tells the client about the scenario."""
    told: dict[str, Any] = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    return told


async def id_token(user_id: str) -> str:
    """What the suite's identity provider gave the user."""
    return str(given()["idp_id_token"])


async def platform_jwt(issuer: str, resource: str) -> str:
    """What the suite's platform gave this program."""
    return str(given()["valid_jwt"])


async def complete(application: Application, callback_url: str) -> None:
    """Redeem an answer."""
    async with application.toolkit() as toolkit:
        await toolkit.complete_authorization(callback_url)


def approve(authorization_url: str) -> str:
    """The suite's authorization servers show no pages: they redirect at once to the callback, which is not fetched."""
    return httpx2.get(authorization_url, follow_redirects=False, trust_env=False).headers["location"]


def here(step: Step, *arguments: Any) -> Any:
    return asyncio.run(step(*arguments))


def apart(step: Step, *arguments: Any) -> Any:
    """In a process of its own, forked from a server that has imported the library and done nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["langchain_mcp_oauth.toolkit", "langchain_mcp_oauth.store.sqlmodel"])
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(here, step, *arguments).result()


def play(run: Callable[..., Any], application: Application) -> list[str]:
    """Use the tools, and do what is asked for, until it works."""
    for _ in range(TURNS):
        try:
            said: list[str] = run(use_tools, application)
            return said
        except AuthRequired as needed:
            run(complete, application, approve(needed.authorization_url))
        except UnsafeURLError as refusal:
            application = application.allowing(refusal)
    raise RuntimeError(f"{TURNS} steps, and no end.")


def server_options(url: str) -> dict[str, Any]:
    """What an application of the suite's scenario would configure."""
    credentials: dict[str, Any] = {name: given()[name] for name in ("client_id", "client_secret") if name in given()}
    options = OPTIONS.get(os.environ["MCP_CONFORMANCE_SCENARIO"], lambda _: {})
    return {"url": url, "client_metadata_url": CLIENT_METADATA_URL, **credentials, **options(given())}


def main(*arguments: str) -> int:
    run = apart if "--apart" in arguments else here
    key = urlsafe_b64encode(secrets.token_bytes(32)).decode()
    with tempfile.TemporaryDirectory() as directory:
        application = Application(server_options(arguments[-1]), f"sqlite:///{Path(directory) / 'tokens.db'}", key)
        try:
            print(json.dumps(play(run, application)))
        except (MCPOAuthError, ToolFailed) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main(*sys.argv[1:]))
