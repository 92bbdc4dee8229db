"""The native-app edge in a notebook: a card with a button in the cell's output, which goes on by itself when the login is done."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from langchain_mcp_oauth.errors import AuthRequired, ConfigurationError, PersonRequired
from langchain_mcp_oauth.loopback.browser import LoopbackBrowser
from langchain_mcp_oauth.pages import authorize_card, settled_card

__all__ = ["NotebookBrowser"]

Show: TypeAlias = Callable[[str], Callable[[str], object]]
"""Shows HTML; returns what puts other HTML in its place."""


class NotebookBrowser(LoopbackBrowser):
    """`on_auth_required` for a notebook whose kernel runs on this machine: shows a card to authorize with, and waits for the answer.

    Example:
        ```python
        toolkit = MCPOAuthToolkit(servers, user_id="me", on_auth_required=NotebookBrowser())
        ```

    Calls at the same time that need the same login share one card. When it is over, the card says how it ended, and the link is gone from
    the notebook. Where the kernel runs on another machine, the browser cannot come back to it: let `AuthRequired` be raised there
    (`on_auth_required=raise_auth_required`), and hand the address that the browser ends at to `toolkit.complete_authorization`.

    Args:
        host, port, timeout: As for `LoopbackBrowser`.
        show: Shows HTML and returns what replaces it. Default: IPython's `display`.

    Raises:
        ConfigurationError: as `LoopbackBrowser`; or IPython is not there to show anything.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int | None = None, timeout: float = 300.0, show: Show | None = None) -> None:
        super().__init__(host=host, port=port, timeout=timeout, open_browser=lambda _url: True)  # the person opens it, from the card
        self._display = show or _ipython_display()
        self._cards: set[str] = set()

    def __call__(self, needed: PersonRequired) -> Coroutine[Any, Any, None]:
        """Show the card at once, in the cell that made the call. The coroutine waits, and raises, as `LoopbackBrowser`'s."""
        if not isinstance(needed, AuthRequired) or needed.auth_id in self._cards:
            return super().__call__(needed)
        self._cards.add(needed.auth_id)
        return self._wait(needed, self._display(authorize_card(needed)))

    async def _wait(self, needed: AuthRequired, replace: Callable[[str], object]) -> None:
        outcome = "was not connected: run the cell again for a new link."
        try:
            await super().__call__(needed)
            outcome = "is connected."
        finally:
            self._cards.discard(needed.auth_id)
            replace(settled_card(needed.server, outcome))


def _ipython_display() -> Show:
    try:
        from IPython.display import HTML, display
    except ImportError:
        raise ConfigurationError("NotebookBrowser needs IPython, as in Jupyter; in a script or a terminal use LoopbackBrowser.") from None

    def show(html: str) -> Callable[[str], object]:
        handle = display(HTML(html), display_id=True)
        return lambda other: handle.update(HTML(other))

    return show
