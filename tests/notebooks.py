"""A notebook, its kernel, and somebody who presses the button of each card that a cell shows."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from html import unescape
from typing import Any

from nbclient import NotebookClient

__all__ = ["Reader", "shown"]

BUTTON = re.compile(r'<a [^>]*href="([^"]+)" target="_blank"')


class Reader(NotebookClient):
    """Executes a notebook from top to bottom.

    Args:
        notebook: As `nbformat` reads it; the outputs are put into it.
        press: Given the address behind a button, in a thread of its own: the cell waits for whoever opens it.
        kernel: Its name, as `jupyter kernelspec list` has it.
    """

    def __init__(self, notebook: Any, *, press: Callable[[str], object], kernel: str = "python3") -> None:
        super().__init__(notebook, timeout=120, kernel_name=kernel)
        self._press = press

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        html = msg["content"]["data"].get("text/html", "") if msg["msg_type"] == "display_data" else ""
        for address in BUTTON.findall(html):
            threading.Thread(target=self._press, args=[unescape(address)], daemon=True).start()
        return super().process_message(msg, cell, cell_index)


def shown(notebook: Any) -> str:
    """All outputs, as text."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") + str(output.get("data", {}).get("text/plain", "")) for output in outputs)
