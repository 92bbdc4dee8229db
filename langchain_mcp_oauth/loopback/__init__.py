"""The native-app edge: opens a browser on this machine and listens on loopback for its return (RFC 8252 §7.3).

For a script, a notebook or a terminal. The listener is open only while somebody is being waited for. Whatever arrives that is not the
answer (a forgery by another site, a port scan, a favicon) gets a 4xx and ends nothing.
"""

from langchain_mcp_oauth.loopback.browser import LoopbackBrowser
from langchain_mcp_oauth.loopback.notebook import NotebookBrowser

__all__ = ["LoopbackBrowser", "NotebookBrowser"]
