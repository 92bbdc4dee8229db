"""A listing that comes again is recognised before it is read; one that is another is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from mcp.types import Implementation, ListToolsResult
from starlette.responses import Response

from langchain_mcp_oauth.connections import Connection, dispatcher, listings
from langchain_mcp_oauth.connections.listings import ListedTools, Recogniser, Repeated
from langchain_mcp_oauth.models import GrantKey

from .mcp_servers import TEXT, Connect, Seen, Serve, answer_to, as_event, events, fake, make_grant, reply

pytestmark = pytest.mark.anyio

ERAS = ["2025-11-25", "2026-07-28"]


def listing(description: str = "a", **schema: Any) -> dict[str, Any]:
    tool = {"name": "t", "description": description, "inputSchema": {"type": "object", **schema}}
    return {"tools": [tool], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}


def as_text(seen: Seen, result: object, separators: tuple[str, str]) -> Response:
    return Response(json.dumps(answer_to(seen, result), separators=separators), media_type="application/json")


def with_id_last(seen: Seen, result: object) -> Response:
    answer = answer_to(seen, result)
    return Response(json.dumps({"result": answer.pop("result"), **answer}), media_type="application/json")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The answers that were read, as texts."""
    texts: list[bytes] = []
    parse = dispatcher.parse_message

    def parse_and_note(text: bytes, *rest: Any) -> dict[str, Any]:
        texts.append(text)
        return parse(text, *rest)

    monkeypatch.setattr(dispatcher, "parse_message", parse_and_note)
    return texts


@pytest.fixture
def users_of(serve: Serve, connect: Connect) -> Callable[..., Any]:
    """Two users' connections to a server that lists in this way."""

    async def make(era: str, list_tools: Callable[[Seen], Response]) -> list[Connection]:
        front = fake(era, tools_list=list_tools, tools_call=lambda seen: reply(seen, TEXT))
        url = f"{serve(front)}/mcp"
        connections = await connect(url)
        users = [connections.get(GrantKey(user, "example", url)) for user in ("ada", "bob")]
        users[0].front = front  # type: ignore[attr-defined]
        return users

    return make


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "write",
    [
        reply,
        lambda seen, result: as_text(seen, result, (", ", ": ")),
        with_id_last,
        lambda seen, result: events(answer_to(seen, result)),
        lambda seen, result: events(": a comment\n\n", as_event(answer_to(seen, result))),
    ],
    ids=["compact", "spaced", "id last", "events", "events and more"],
)
async def test_what_was_told_before_is_not_read_again(
    users_of: Callable[..., Any], reads: list[bytes], era: str, write: Any, request: pytest.FixtureRequest
) -> None:
    """Equal bytes but for the id mean equal tools: to the same user and to another, who share one listing. Each is read once."""
    ada, bob = await users_of(era, lambda seen: write(seen, listing(request.node.name)))
    first = await ada.list_tools(None)
    for again in (await ada.list_tools(None), await bob.list_tools(None), await bob.list_tools(None)):
        assert again is first
    assert sum(request.node.name.encode() in text for text in reads) == 1
    assert (await ada.call_tool(None, "t", {})).content[0].text == "done"


@pytest.mark.parametrize("write", [reply, lambda seen, result: events(answer_to(seen, result))], ids=["json", "events"])
async def test_a_listing_that_changes_is_read(users_of: Callable[..., Any], write: Any) -> None:
    """And the first one is recognised when it comes back."""
    told = iter(["b", "c", "b"])
    user, _ = await users_of("2026-07-28", lambda seen: write(seen, listing(next(told))))
    listed = [await user.list_tools(None) for _ in range(3)]
    assert [one.tools[0].description for one in listed] == ["b", "c", "b"]
    assert listed[2] is listed[0]


async def test_no_answer_is_taken_for_a_listing_that_is_none(users_of: Callable[..., Any]) -> None:
    """The bytes of a known listing, as an error's body, are an error."""
    status = iter([200, 500])
    user, _ = await users_of("2026-07-28", lambda seen: reply(seen, listing("d"), status_code=next(status)))
    await user.list_tools(None)
    with pytest.raises(Exception, match="answered 500"):
        await user.list_tools(None)


async def test_anothers_secret_is_no_secret_but_mine_is(users_of: Callable[..., Any]) -> None:
    """A listing that was kept for one user, and repeats the token of the next, is read again, and the token blotted out (R41)."""
    ada, bob = await users_of("2026-07-28", lambda seen: reply(seen, listing("Say bobs-access-token")))
    kept = await ada.list_tools(make_grant(ada.key, "adas-access-token"))
    assert kept.tools[0].description == "Say bobs-access-token"
    assert (await bob.list_tools(make_grant(bob.key, "bobs-access-token"))).tools[0].description == "Say [redacted]"


async def test_arguments_in_headers_are_everybodys(users_of: Callable[..., Any]) -> None:
    """2026-07-28: a further session, too, knows which arguments go into headers (SEP-2243), and when they no longer do."""
    mirrored = {"properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    told = iter([mirrored, {}, mirrored, {}])
    ada, bob = await users_of("2026-07-28", lambda seen: reply(seen, listing("e", **next(told))))
    kept = [await ada.list_tools(None) for _ in range(2)]
    sent = []
    for _ in kept:
        await bob.list_tools(None)
        await bob.call_tool(None, "t", {"region": "eu"})
        sent.append(ada.front.of("tools/call")[-1].headers.get("mcp-param-region"))
    assert sent == ["eu", None]


# Without a server ------------------------------------------------------------------------------------------------------------------


def listed(recogniser: Recogniser, text: str, version: str = "1") -> ListedTools:
    """What a session does: take the known page, or read the new one."""
    try:
        recogniser.look(text.encode())
        page = ListToolsResult.model_validate(json.loads(text))
    except Repeated as repeated:
        page = repeated.page
    return recogniser.recognise(ListedTools(tuple(page.tools), Implementation(name="example", version=version), page=page))


async def test_another_word_of_the_server_makes_another_listing() -> None:
    """Of the same tools: what a server says of itself may be for one user alone."""
    text = json.dumps(listing("f"))
    first, second = listed(Recogniser(), text), listed(Recogniser(), text, "2")
    assert second is not first
    assert second.page is first.page


async def test_nothing_is_known_that_nobody_uses() -> None:
    """The first listing is gone with its last user: the server's answer is read anew."""
    before = len(listings._known)
    kept = listed(Recogniser(), json.dumps(listing("g")))
    assert kept.page is not None
    assert len(listings._known) == before + 1
    del kept
    assert len(listings._known) == before
