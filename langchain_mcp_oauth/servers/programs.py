"""What a user of the library configures for an MCP server that is a program on the same machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import Field, SecretStr

from langchain_mcp_oauth.errors import ConfigurationError
from langchain_mcp_oauth.servers.configured import Configured

__all__ = ["StdioServer"]


class StdioServer(Configured):
    """An MCP server that is a program on this machine: one process for each user, started when first needed and ended with its session.

    Example:
        ```python
        StdioServer("npx", args=["-y", "@example/mcp-server"], env={"EXAMPLE_KEY": "{{EXAMPLE_KEY}}"})
        ```

    `${NAME}` is an environment variable; `{{NAME}}`, in `args` and `env`, a value of each user's own: see `MCPServer`. There is no login
    (MCP authorization is for HTTP alone). The program runs with this process's rights, whoever the user is, and what it writes to stderr
    goes where this process's does.

    Raises:
        ConfigurationError: a value cannot work; the message names it.
    """

    EXPANDED = frozenset({"command", "args", "env", "cwd"})

    command: str
    """The program; looked for on `PATH`."""
    args: tuple[str, ...] = Field(default=(), repr=False)
    """Other programs on this machine can read them: `env` is the place for secrets."""
    env: Mapping[str, SecretStr] = {}
    """Environment variables. Of this process's own the program gets only `HOME`, `LOGNAME`, `PATH`, `SHELL`, `TERM` and `USER`."""
    cwd: str | None = None
    """The directory it runs in. Default: this process's."""
    uses_oauth: ClassVar[bool] = False

    def __init__(self, command: str, **options: Any) -> None:
        super().__init__(command=command, **options)

    @property
    def url(self) -> str:
        """`stdio:` and the command: a user's values are kept for this, and are gone when the command changes."""
        return f"stdio:{self.command}"

    def check(self, values: Mapping[str, str]) -> dict[str, SecretStr]:
        """As `Configured.check`; and no value that a whole argument is made of, or begins with, may be an option of the program's."""
        checked = super().check(values)
        for name, value in checked.items():
            if value.get_secret_value().startswith("-") and any(arg.startswith(f"{{{{{name}}}}}") for arg in self.args):
                raise ConfigurationError(f"The value of {name} must not begin with a dash: the program would take it for an option.")
        return checked

    @property
    def templates(self) -> Iterable[str]:
        return [*self.args, *(value.get_secret_value() for value in self.env.values())]
