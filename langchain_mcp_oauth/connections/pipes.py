"""An MCP server that is a program: its standard input and output, by the SDK's transport."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TextIO, cast

from mcp.client.stdio import StdioServerParameters, stdio_client
from pydantic import SecretStr

from langchain_mcp_oauth.connections.streams import Streams
from langchain_mcp_oauth.errors import ConnectionFailed
from langchain_mcp_oauth.servers.configured import fill
from langchain_mcp_oauth.servers.programs import StdioServer

__all__ = ["run_program"]


@asynccontextmanager
async def run_program(server: StdioServer, values: Mapping[str, SecretStr]) -> AsyncIterator[Streams]:
    """Start the program; at the end, close its input, and end it and everything it started if it does not end by itself.

    Raises:
        ConnectionFailed: it cannot be started.
    """
    parameters = StdioServerParameters(
        command=server.command,
        args=[fill(arg, values) for arg in server.args],
        env={name: fill(value.get_secret_value(), values) for name, value in server.env.items()},
        cwd=server.cwd,
        encoding_error_handler="replace",
    )
    async with AsyncExitStack() as stack:
        # Not `sys.stderr`: a notebook's or a test's is no file, and a program needs one.
        errors = sys.__stderr__ or cast("TextIO", subprocess.DEVNULL)
        try:
            streams = await stack.enter_async_context(stdio_client(parameters, errlog=errors))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else type(error).__name__
            raise ConnectionFailed(f"The program {server.command!r} cannot be started: {reason}.") from None
        yield streams
