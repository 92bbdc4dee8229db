"""MCP content as LangChain content blocks. Data only: nothing here is fetched, run or deserialised, nor by the chat models' packages."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, TypeAlias, TypedDict, assert_never

from langchain_core.documents.base import Blob
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.messages.content import FileContentBlock, ImageContentBlock, TextContentBlock
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    GetPromptResult,
    ImageContent,
    ReadResourceResult,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

__all__ = ["MCPToolArtifact", "ToolContent", "text_block", "to_artifact", "to_blobs", "to_blocks", "to_error_blocks", "to_messages"]

ToolContent: TypeAlias = TextContentBlock | ImageContentBlock | FileContentBlock
"""What a `ToolMessage` may hold of an MCP result. No `audio`: one audio block makes langchain-core turn the whole list into text."""


class MCPToolArtifact(TypedDict):
    """`ToolMessage.artifact`: what the tool returned beside its content."""

    structured_content: Any
    """The result's `structuredContent`, or None."""
    meta: dict[str, Any] | None
    """The result's `_meta`, or None."""


def to_blocks(result: CallToolResult) -> list[ToolContent]:
    """The result's content in order. Blocks carry no ids, so the same result always gives the same blocks."""
    return [_to_block(content) for content in result.content]


def to_artifact(result: CallToolResult) -> MCPToolArtifact:
    """The rest of the result."""
    return {"structured_content": result.structured_content, "meta": result.meta}


def to_blobs(result: ReadResourceResult) -> list[Blob]:
    """What a resource holds, as LangChain blobs: `metadata["uri"]` says which of several it is."""
    return [_to_blob(part) for part in result.contents]


def _to_blob(part: TextResourceContents | BlobResourceContents) -> Blob:
    data = part.text if isinstance(part, TextResourceContents) else base64.b64decode(part.blob)
    return Blob.from_data(data, mime_type=part.mime_type, metadata={"uri": str(part.uri)})


def to_messages(result: GetPromptResult) -> list[BaseMessage]:
    """A prompt's messages, their content as blocks."""
    return [_MESSAGES[message.role](content=[_to_block(message.content)]) for message in result.messages]


_MESSAGES: dict[str, Callable[..., BaseMessage]] = {"user": HumanMessage, "assistant": AIMessage}


def to_error_blocks(result: CallToolResult) -> list[ToolContent]:
    """A failed result's content; never empty, since some providers refuse an empty tool message."""
    return to_blocks(result) or [text_block("The tool reported an error and said nothing about it.")]


def _to_block(content: ContentBlock) -> ToolContent:
    match content:
        case TextContent(text=text):
            return text_block(text)
        case ImageContent(data=data, mime_type=mime_type):
            return {"type": "image", "base64": data, "mime_type": mime_type}
        case AudioContent(data=data, mime_type=mime_type):
            return {"type": "file", "base64": data, "mime_type": mime_type}
        case ResourceLink(uri=uri, name=name):
            return text_block(f"{name}: {uri}")  # as a block some chat models' packages would fetch it, past our transport, or refuse it
        case EmbeddedResource(resource=resource):
            return _embedded(resource)
        case _:
            assert_never(content)


def _embedded(resource: TextResourceContents | BlobResourceContents) -> ToolContent:
    if isinstance(resource, TextResourceContents):
        return text_block(resource.text)
    return _media(resource.mime_type, resource.blob)


def text_block(text: str) -> TextContentBlock:
    """A block of text."""
    return {"type": "text", "text": text}


def _media(mime_type: str | None, data: str) -> ImageContentBlock | FileContentBlock:
    if mime_type and mime_type.startswith("image/"):
        return {"type": "image", "base64": data, "mime_type": mime_type}
    return {"type": "file", "base64": data, "mime_type": mime_type or "application/octet-stream"}  # langchain-openai needs one
