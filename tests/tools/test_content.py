"""MCP content as LangChain content blocks."""

import pytest
from langchain_core.messages import ToolMessage
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from langchain_mcp_oauth.tools.content import to_artifact, to_blocks, to_error_blocks


def embedded(**resource: str) -> EmbeddedResource:
    kind = TextResourceContents if "text" in resource else BlobResourceContents
    return EmbeddedResource(type="resource", resource=kind(uri="file:///x", **resource))


@pytest.mark.parametrize(
    ("content", "block"),
    [
        (TextContent(type="text", text="hi"), {"type": "text", "text": "hi"}),
        (ImageContent(type="image", data="QQ==", mime_type="image/png"), {"type": "image", "base64": "QQ==", "mime_type": "image/png"}),
        (AudioContent(type="audio", data="QQ==", mime_type="audio/wav"), {"type": "file", "base64": "QQ==", "mime_type": "audio/wav"}),
        *[
            (ResourceLink(type="resource_link", name="n", uri=uri, mime_type="image/png"), {"type": "text", "text": f"n: {uri}"})
            for uri in ("https://x.example/a.png", "file:///etc/passwd", "https://169.254.169.254/latest", "note://7")
        ],
        (embedded(text="inside"), {"type": "text", "text": "inside"}),
        (embedded(blob="QQ==", mime_type="image/gif"), {"type": "image", "base64": "QQ==", "mime_type": "image/gif"}),
        (embedded(blob="QQ=="), {"type": "file", "base64": "QQ==", "mime_type": "application/octet-stream"}),
    ],
)
def test_each_kind_of_content_has_its_block(content: ContentBlock, block: dict[str, str]) -> None:
    """One block each, in order, and a `ToolMessage` takes it as it is."""
    blocks = to_blocks(CallToolResult(content=[content]))
    assert blocks == [block]
    assert ToolMessage(content=blocks, tool_call_id="1").content == [block]


def test_structured_content_and_meta_are_the_artifact() -> None:
    """The artifact is there for every result."""
    result = CallToolResult(content=[], structured_content={"n": 1}, _meta={"k": "v"})
    assert to_artifact(result) == {"structured_content": {"n": 1}, "meta": {"k": "v"}}
    assert to_artifact(CallToolResult(content=[])) == {"structured_content": None, "meta": None}


def test_an_error_is_never_empty() -> None:
    """Some providers refuse an empty tool message."""
    assert to_error_blocks(CallToolResult(content=[], is_error=True)) == [
        {"type": "text", "text": "The tool reported an error and said nothing about it."}
    ]


def test_serialised_langchain_objects_stay_data() -> None:
    """A result that looks like a serialised LangChain object is text, and structured content stays a dictionary (R45)."""
    looks = {"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {}}
    assert to_artifact(CallToolResult(content=[], structured_content=looks))["structured_content"] is not None
    assert type(to_artifact(CallToolResult(content=[], structured_content=looks))["structured_content"]) is dict
