"""One of each kind of content that a tool may return, and the block that it becomes."""

from __future__ import annotations

import base64
from typing import Any

from mcp.types import (
    AudioContent,
    BlobResourceContents,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from langchain_mcp_oauth.testing.example_tools import PIXEL

SOUND = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x44\xac\0\0\x88\x58\1\0\2\0\x10\0data\0\0\0\0"
"""A WAV file without a sound in it."""


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


RESULTS: dict[str, tuple[ContentBlock, dict[str, Any]]] = {
    "text": (TextContent(text="hello"), {"type": "text", "text": "hello"}),
    "image": (
        ImageContent(data=_encoded(PIXEL), mime_type="image/png"),
        {"type": "image", "base64": _encoded(PIXEL), "mime_type": "image/png"},
    ),
    "audio": (
        AudioContent(data=_encoded(SOUND), mime_type="audio/wav"),
        {"type": "file", "base64": _encoded(SOUND), "mime_type": "audio/wav"},
    ),
    "linked file": (
        ResourceLink(name="report", uri="https://files.example/report.pdf", mime_type="application/pdf"),
        {"type": "text", "text": "report: https://files.example/report.pdf"},
    ),
    "linked image": (
        ResourceLink(name="plan", uri="https://files.example/plan.png", mime_type="image/png"),
        {"type": "text", "text": "plan: https://files.example/plan.png"},
    ),
    "embedded text": (
        EmbeddedResource(resource=TextResourceContents(uri="notes://1", text="# A note", mime_type="text/markdown")),
        {"type": "text", "text": "# A note"},
    ),
    "embedded image": (
        EmbeddedResource(resource=BlobResourceContents(uri="files://1", blob=_encoded(PIXEL), mime_type="image/png")),
        {"type": "image", "base64": _encoded(PIXEL), "mime_type": "image/png"},
    ),
    "embedded bytes": (
        EmbeddedResource(resource=BlobResourceContents(uri="files://2", blob=_encoded(b"\0\1"))),
        {"type": "file", "base64": _encoded(b"\0\1"), "mime_type": "application/octet-stream"},
    ),
}
