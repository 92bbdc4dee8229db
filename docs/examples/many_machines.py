"""Web workers and agent processes on many machines, with one Postgres between them.

    langchain-mcp-oauth db upgrade --store "$DATABASE_URL"   # once for each release
    python many_machines.py web 8001                         # a web worker; start as many as you like, behind one address
    python many_machines.py agent THREAD USER                # one run of an agent: prints the link to open, or the answer

All of them need the same environment: `DATABASE_URL`, `LANGCHAIN_MCP_OAUTH_KEY`, `PUBLIC_URL` (the address of the web workers), `MCP_URL`.
"""

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from typing import TypedDict

import uvicorn
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import START, StateGraph
from starlette.applications import Starlette

from langchain_mcp_oauth import MCPOAuthToolkit, auth_interrupts, callback_routes, resume_command

DATABASE_URL = os.environ["DATABASE_URL"]
PUBLIC_URL = os.environ["PUBLIC_URL"]

toolkit = MCPOAuthToolkit(
    {"example": os.environ["MCP_URL"]},
    store=DATABASE_URL,
    redirect_uri=f"{PUBLIC_URL}/oauth/callback",
    start_url=f"{PUBLIC_URL}/oauth/start",
    allowed_private_hosts=os.environ.get("ALLOWED_PRIVATE_HOSTS", "").split(),
)


def web(port: str) -> None:
    @asynccontextmanager
    async def until_the_end(_app):
        async with toolkit:
            yield

    # Your own sign-in says who the browser belongs to; here it is a cookie that anybody can set.
    routes = callback_routes(toolkit, get_user=lambda request: request.cookies.get("user"))
    uvicorn.run(Starlette(routes=routes, lifespan=until_the_end), host="127.0.0.1", port=int(port), log_level="warning")


class State(TypedDict, total=False):
    answer: str


async def work(_state: State, config: RunnableConfig) -> State:
    tools = {tool.name: tool for tool in await toolkit.aget_tools(user_id=config["configurable"]["user_id"])}
    [block] = await tools["example__whoami"].ainvoke({})
    return {"answer": block["text"]}


async def agent(thread: str, user: str) -> None:
    graph = StateGraph(State).add_node("work", work).add_edge(START, "work")
    config = {"configurable": {"thread_id": thread, "user_id": user}}
    async with toolkit, AsyncPostgresSaver.from_conn_string(DATABASE_URL) as saver:
        await saver.setup()
        compiled = graph.compile(checkpointer=saver)
        stopped = await compiled.aget_state(config)
        result = await compiled.ainvoke(resume_command(stopped) if stopped.interrupts else {"answer": ""}, config)
        links = [request["authorization_url"] for request in auth_interrupts(result)]
        print(*links or [result["answer"]])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["web", port]:
            web(port)
        case ["agent", thread, user]:
            asyncio.run(agent(thread, user))
        case _:
            sys.exit(__doc__)
