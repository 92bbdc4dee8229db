"""What somebody would write who uses the library: an agent's run in one process, the web pages in another.

    python -m langchain_mcp_oauth.demo.application ask --server URL --web ORIGIN --data-dir DIR --thread ID QUESTION
    python -m langchain_mcp_oauth.demo.application resume …        the same without the question
    python -m langchain_mcp_oauth.demo.application web --server URL --data-dir DIR

`ask` and `resume` print what came of it as one line of JSON and end. All that they share with each other and with the web process is
`--data-dir`: the checkpoints of the graph and the tokens, two SQLite files.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvicorn
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from langchain_mcp_oauth import MCPOAuthToolkit, auth_interrupts, resume_command
from langchain_mcp_oauth.demo.agent import demo_model
from langchain_mcp_oauth.testing.serving import listen, origin
from langchain_mcp_oauth.web import callback_routes

__all__ = ["USER", "ask", "main", "resume", "web_app"]

USER = "reader-1"
"""Who uses this application, by its own account; the name at the MCP server is another matter."""

SESSION = "demo_session"


def open_toolkit(server: str, web: str, data_dir: Path) -> MCPOAuthToolkit:
    """The same servers, database and addresses for every process of the application."""
    return MCPOAuthToolkit(
        {"library": server},
        store=f"sqlite:///{data_dir / 'tokens.db'}",
        redirect_uri=f"{web}/oauth/callback",
        start_url=f"{web}/oauth/start",
    )


@asynccontextmanager
async def open_agent(server: str, web: str, data_dir: Path) -> AsyncIterator[Any]:
    """An agent with the server's tools, whose runs survive the process."""
    async with (
        open_toolkit(server, web, data_dir) as toolkit,
        AsyncSqliteSaver.from_conn_string(str(data_dir / "checkpoints.db")) as checkpointer,
    ):
        yield create_agent(demo_model(), await toolkit.aget_tools(user_id=USER), checkpointer=checkpointer)


async def ask(server: str, web: str, data_dir: Path, thread: str, question: str) -> dict[str, Any]:
    """Start a run with a question. Returns its `interrupts` (payloads), or its `answer` and how many `tool_calls` it took."""
    async with open_agent(server, web, data_dir) as agent:
        return _outcome(await agent.ainvoke({"messages": [("user", question)]}, _config(thread)))


async def resume(server: str, web: str, data_dir: Path, thread: str) -> dict[str, Any]:
    """Go on with a run that waits for a login. Returns the same as `ask`."""
    async with open_agent(server, web, data_dir) as agent:
        state = await agent.aget_state(_config(thread))
        return _outcome(await agent.ainvoke(resume_command(state), _config(thread)))


def _config(thread: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "user_id": USER}}


def _outcome(result: dict[str, Any]) -> dict[str, Any]:
    messages: Sequence[BaseMessage] = result["messages"]
    return {
        "interrupts": auth_interrupts(result),
        "answer": messages[-1].text if isinstance(messages[-1], AIMessage) else None,
        "tool_calls": sum(isinstance(message, ToolMessage) for message in messages),
    }


def web_app(toolkit: MCPOAuthToolkit) -> Starlette:
    """The application's web pages: a sign-in of its own, and the library's start link and callback behind it."""
    sessions: set[str] = set()

    def signed_in(request: Request) -> str:
        if request.cookies.get(SESSION) not in sessions:
            raise HTTPException(303, headers={"Location": f"/sign-in?{urlencode({'next': request.url.path})}"})
        return USER

    async def sign_in(request: Request) -> Response:
        following = request.query_params.get("next", "")
        if not following.startswith("/oauth/start/"):
            raise HTTPException(404)
        if request.method == "GET":
            return HTMLResponse(SIGN_IN.format(user=escape(USER)))
        response = RedirectResponse(following, 303)
        session = secrets.token_urlsafe(32)
        sessions.add(session)
        response.set_cookie(SESSION, session, httponly=True, samesite="lax")
        return response

    return Starlette(routes=[Route("/sign-in", sign_in, methods=["GET", "POST"]), *callback_routes(toolkit, get_user=signed_in)])


SIGN_IN = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Sign in</title>
<style>:root {{ color-scheme: light dark }} body {{ font: 1.1rem/1.5 system-ui, sans-serif;
max-width: 30rem; margin: 4rem auto; padding: 0 1rem }}
button {{ font: inherit; padding: .6rem 1.2rem }}</style></head>
<body><main><h1>The demo application</h1><p>Its own sign-in, so that it knows whose browser this is.</p>
<form method="post"><button type="submit">Sign in as {user}</button></form></main></body></html>"""


def main() -> None:
    """Do one of the three."""
    options = _parser().parse_args()
    if options.what == "web":
        _serve(options.server, options.data_dir, options.port)
    elif options.what == "ask":
        print(json.dumps(asyncio.run(ask(options.server, options.web, options.data_dir, options.thread, options.question))))
    else:
        print(json.dumps(asyncio.run(resume(options.server, options.web, options.data_dir, options.thread))))


def _serve(server: str, data_dir: Path, port: int) -> None:
    """Serve the web pages until interrupted; the first line printed is their origin."""
    listener = listen(port)
    app = web_app(open_toolkit(server, origin(listener), data_dir))
    print(origin(listener), flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)).run(sockets=[listener])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m langchain_mcp_oauth.demo.application", description="An application's processes.")
    parser.add_argument("--server", required=True, help="the MCP endpoint's URL")
    parser.add_argument("--data-dir", type=Path, required=True, help="where checkpoints and tokens are kept")
    steps = parser.add_subparsers(dest="what", required=True)
    web = steps.add_parser("web", help="serve the sign-in, the start link and the callback")
    web.add_argument("--port", type=int, default=0)
    for name, text in (("ask", "start a run with a question"), ("resume", "go on with a run that waits for a login")):
        step = steps.add_parser(name, help=text)
        step.add_argument("--web", required=True, help="the web process's origin")
        step.add_argument("--thread", required=True, help="the conversation")
        if name == "ask":
            step.add_argument("question")
    return parser


if __name__ == "__main__":
    main()
