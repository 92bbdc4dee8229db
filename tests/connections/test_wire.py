"""The rules for reading a message, without a server."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError

from langchain_mcp_oauth.connections.wire import MAX_CONTAINERS, answers, parse_message, read_error, read_result, repeated, without_id
from langchain_mcp_oauth.errors import ProtocolError

PLACE = "https://mcp.example.com"
TOKEN = "secret-token"


@given(
    st.dictionaries(st.text(), st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists, max_leaves=20))
)
def test_messages_come_as_they_were_sent(message: dict[str, Any]) -> None:
    """Nothing is lost or changed."""
    assert parse_message(json.dumps(message).encode(), PLACE, [TOKEN]) == message


@given(st.binary(max_size=200))
def test_anything_else_is_a_typed_error(text: bytes) -> None:
    """No bytes lead to another exception."""
    with suppress(ProtocolError):
        assert isinstance(parse_message(text, PLACE), dict)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({"a": f"x {TOKEN} y {TOKEN}"}, {"a": "x [redacted] y [redacted]"}),
        ({"a": [{"b": [TOKEN, 1, None]}]}, {"a": [{"b": ["[redacted]", 1, None]}]}),
        ({TOKEN: TOKEN}, {"[redacted]": "[redacted]"}),
        ({"a": "short"}, {"a": "short"}),
    ],
)
def test_tokens_are_blotted_out(sent: dict[str, Any], read: dict[str, Any]) -> None:
    """Wherever they stand; but not what is too short to be a secret."""
    assert parse_message(json.dumps(sent).encode(), PLACE, [TOKEN, "short"]) == read


@pytest.mark.parametrize(
    ("token", "spelled"),
    [
        ("abcd/efgh+1", rb"abcd\/efgh+1"),
        ("abcd-efgh-1", rb"abcd-\u0065fgh-1"),
        ('abcd"efgh-1', rb"abcd\"efgh-1"),
        ("abcd\\efgh-1", rb"abcd\\efgh-1"),
    ],
)
def test_tokens_are_blotted_out_however_json_spells_them(token: str, spelled: bytes) -> None:
    """Escapes are read before the search (RFC 8259 §7)."""
    assert parse_message(b'{"a":"x ' + spelled + b' y"}', PLACE, [token]) == {"a": "x [redacted] y"}


@pytest.mark.parametrize(
    ("text", "may_hold"),
    [
        (b"abcd-efgh-1", True),
        (rb"abcd\u002defgh-1", True),
        (rb"\u2014 \"quoted\" \\ and \/", False),
        (b"nothing of the kind", False),
    ],
)
def test_what_may_hold_a_secret(text: bytes, *, may_hold: bool) -> None:
    """Whatever is spelled by an escape and is no character of the secret's cannot be part of it."""
    assert repeated(b'{"a":"' + text + b'"}', ["abcd-efgh-1", "short"]) == (["abcd-efgh-1"] if may_hold else [])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b'{"jsonrpc":"2.0","id":7,"result":{}}', b'{"jsonrpc":"2.0","id":12,"result":{}}', True),
        (b'{"jsonrpc": "2.0", "id": 7, "result": {}}', b'{"jsonrpc": "2.0", "id": 12, "result": {}}', True),
        (b'{"result":{},"jsonrpc":"2.0","id":7}', b'{"result":{},"jsonrpc":"2.0","id":12}', True),
        (b'{"id":7,"result":{"id":0}}', b'{"id":12,"result":{"id":1}}', False),
        (b'{"id":7,"result":{}}', b'{"result":{},"id":12}', False),
        (b'{"id":"7","result":{}}', b'{"id":"12","result":{}}', False),
        (b'{"id" : 7,"result":{}}', b'{"id" : 12,"result":{}}', False),
    ],
)
def test_answers_that_differ_in_nothing_but_their_ids(one: bytes, other: bytes, *, same: bool) -> None:
    """The usual spellings are recognised; with another, each answer is one of its own."""
    assert (without_id(one, 7) == without_id(other, 12)) is same


def test_the_size_in_memory_is_bounded() -> None:
    """Half a million lists and objects, however they are nested."""
    fits = b'{"a":[' + b"[]," * (MAX_CONTAINERS - 3) + b"[]]}"
    assert len(parse_message(fits, PLACE)["a"]) == MAX_CONTAINERS - 2
    with pytest.raises(ProtocolError, match="more than 500,000"):
        parse_message(fits[:-2] + b",{}]}", PLACE)


@pytest.mark.parametrize(
    ("message", "is_answer"),
    [
        ({"id": 7, "result": {}}, True),
        ({"id": "7", "result": {}}, True),
        ({"id": 7, "error": {}}, True),
        ({"id": None, "error": {}}, True),
        ({"error": {}}, True),
        ({"id": None, "result": {}}, False),
        ({"id": 8, "result": {}}, False),
        ({"id": True, "result": {}}, False),
        ({"id": 7, "method": "ping"}, False),
        ({"method": "notifications/message"}, False),
    ],
)
def test_whose_answer_it_is(message: dict[str, Any], is_answer: bool) -> None:
    """By id (JSON-RPC 2.0 §5); a server's own requests count their own ids."""
    assert answers(message, 7) is is_answer


@pytest.mark.parametrize("error", [None, "text", {}, {"code": "x", "message": "m"}, {"code": 1}, {"message": "m"}, []])
def test_malformed_errors(error: object) -> None:
    """They are none, and a message with nothing else is no answer."""
    message = {"id": 1, "error": error}
    assert read_error(message) is None
    with pytest.raises(ProtocolError, match="neither a result nor an error"):
        read_result(message, PLACE, modern=True)


def test_errors() -> None:
    """They are the server's, with its code, message and data."""
    with pytest.raises(MCPError) as caught:
        read_result({"id": 1, "error": {"code": -32000, "message": "mine", "data": [1]}}, PLACE, modern=False)
    assert (caught.value.code, caught.value.message, caught.value.data) == (-32000, "mine", [1])
