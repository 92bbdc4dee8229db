"""The shapes of interrupts and answers, against the types of the interfaces that render them."""

from __future__ import annotations

import sys
import typing
from datetime import UTC, datetime
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, get_args, get_type_hints

import langchain
import pytest
import typing_extensions
from langchain.agents.middleware.human_in_the_loop import HITLRequest, HITLResponse
from langgraph.prebuilt.interrupt import HumanInterrupt, HumanResponse
from langgraph.types import Command
from mcp.types import ElicitRequest, ElicitRequestFormParams, ElicitRequestURLParams, InputRequiredResult
from pydantic import TypeAdapter

from langchain_mcp_oauth import AuthRequired, ConfigurationError, MCPOAuthToolkit, auth_interrupts, raise_auth_required, resume_command
from langchain_mcp_oauth.errors import AuthorizationDenied, CredentialsRequired, PersonRequired
from langchain_mcp_oauth.interrupts.answers import read_answer
from langchain_mcp_oauth.interrupts.eliciting import read_responses, to_payload
from langchain_mcp_oauth.interrupts.payloads import native_payload, shape

CALLBACK = "https://app.example/cb?code=c&state=s"


def event(server: str = "demo") -> AuthRequired:
    return AuthRequired(
        authorization_url=f"https://as.example/authorize?state={server}",
        server=server,
        resource="https://mcp.example/mcp",
        issuer="https://as.example",
        scopes=("read",),
        reason="login",
        auth_id=f"auth-{server}",
        expires_at=datetime(2026, 1, 1, tzinfo=UTC),  # in the names of tests, which every process that runs some must agree on
    )


def key(server: str = "demo") -> CredentialsRequired:
    return CredentialsRequired(server=server, names=("KEY",), descriptions=("",), reason="missing")


ONE, TWO = event(), PersonRequired.together([event("mail"), event("files")])
MIXED = PersonRequired.together([key("maps"), event("mail")])
FORMATS: list[Any] = ["native", "hitl", "inbox", "elicitation", lambda payload: {"title": "Connect", "mcp_oauth": payload}]


@pytest.mark.parametrize("needed", [ONE, TWO, MIXED], ids=["one", "two", "mixed"])
@pytest.mark.parametrize("form", FORMATS, ids=["native", "hitl", "inbox", "elicitation", "own"])
def test_every_shape_is_found_again(needed: PersonRequired, form: Any) -> None:
    """`auth_interrupts` gives the native payload, and `resume_command` answers it."""
    interrupt = SimpleNamespace(id="0" * 32, value=shape(needed, form))
    assert auth_interrupts([interrupt]) == [needed.payload()]
    assert resume_command([interrupt]) == Command(resume={"0" * 32: {"status": "authorized"}})


@pytest.mark.parametrize(("needed", "servers"), [(ONE, ["demo"]), (TWO, ["mail", "files"])], ids=["one", "two"])
def test_a_review_request_is_the_middlewares(needed: PersonRequired, servers: list[str]) -> None:
    """`HITLRequest` as LangChain's middleware defines it: an action for each server, whose description holds the URL."""
    value = shape(needed, "hitl")
    request = TypeAdapter(HITLRequest).validate_python(value)
    assert [action["name"] for action in request["action_requests"]] == [f"connect_{server}" for server in servers]
    assert [review["action_name"] for review in request["review_configs"]] == [f"connect_{server}" for server in servers]
    assert all(f"state={server}" in action["description"] for server, action in zip(servers, request["action_requests"], strict=True))


@pytest.mark.parametrize(("needed", "servers"), [(ONE, ["demo"]), (TWO, ["mail", "files"])], ids=["one", "two"])
def test_an_inbox_item_is_agent_inboxs(needed: PersonRequired, servers: list[str]) -> None:
    """`HumanInterrupt` as LangGraph defines it for Agent Inbox, which shows the first of a list alone: so there is one, with all URLs."""
    [item] = TypeAdapter(list[HumanInterrupt]).validate_python(shape(needed, "inbox"), extra="forbid")
    assert item["action_request"]["action"] == f"connect_{'_and_'.join(servers)}"
    assert all(f"state={server}" in str(item["description"]) for server in servers)
    allowed = {name for name, allows in item["config"].items() if allows}
    assert allowed == {"allow_accept", "allow_respond", "allow_ignore"}


@pytest.fixture
def elicitation(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`langchain.mcp.elicitation` as it is installed, for its types; the client it drives (fastmcp) is not needed for those."""
    for name in ("fastmcp", "fastmcp.client", "fastmcp.client.group"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules["fastmcp.client.group"], "ClientGroup", object, raising=False)
    monkeypatch.setattr(typing, "TypedDict", typing_extensions.TypedDict)  # pydantic reads no other one before Python 3.12
    path = Path(langchain.__file__).parent / "mcp" / "elicitation.py"
    spec = spec_from_file_location("langchain_mcp_elicitation", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_an_elicitation_is_langchains(elicitation: Any) -> None:
    """`MCPElicitationInterrupt` in URL mode, keyed by `auth_id`."""
    value = TypeAdapter(elicitation.MCPElicitationInterrupt).validate_python(shape(TWO, "elicitation"))
    assert [(request["key"], request["mode"]) for request in value["requests"]] == [("auth-mail", "url"), ("auth-files", "url")]


def test_a_servers_question_is_langchains(elicitation: Any) -> None:
    """Form and URL mode, and the answers: `MCPElicitationInterrupt` and `MCPElicitationResume`."""
    form = ElicitRequestFormParams(message="Sure?", requested_schema={"type": "object", "properties": {"sure": {"type": "boolean"}}})
    url = ElicitRequestURLParams(message="Pay.", url="https://pay.example/", elicitation_id="1")
    result = InputRequiredResult(input_requests={"a": ElicitRequest(params=form), "b": ElicitRequest(params=url)})
    payload = to_payload(result, server="demo", tool_name="demo__t", tool_call_id=None)
    TypeAdapter(elicitation.MCPElicitationInterrupt).validate_python(payload)
    answer = {"responses": {"a": {"action": "accept", "content": {"sure": True}}, "b": {"action": "decline"}}}
    resume = TypeAdapter(elicitation.MCPElicitationResume).validate_python(answer)
    responses = read_responses(payload, resume)
    assert responses is not None
    assert [response.action for response in responses.values()] == ["accept", "decline"]


def test_credentials_are_not_asked_for_by_a_url() -> None:
    """They have none: the native shape is shown."""
    needed = key()
    assert shape(needed, "elicitation") == needed.payload()
    assert TypeAdapter(HITLRequest).validate_python(shape(needed, "hitl"))
    assert TypeAdapter(list[HumanInterrupt]).validate_python(shape(needed, "inbox"))


def test_a_login_and_credentials_at_once() -> None:
    """The login first, and the keys of both; an interface for URLs is given those, and asks for the rest afterwards."""
    payload = MIXED.payload()
    assert (payload["type"], [one["type"] for one in payload["requests"]]) == (
        "mcp_auth_required",
        ["mcp_auth_required", "mcp_credentials_required"],
    )
    assert "'mail'" in payload["message"]
    assert "'maps' needs" in payload["message"]
    assert [action["name"] for action in shape(MIXED, "hitl")["action_requests"]] == ["connect_mail", "connect_maps"]
    assert [request["key"] for request in shape(MIXED, "elicitation")["requests"]] == ["auth-mail"]


@pytest.mark.parametrize(
    "value", [None, "text", [], {}, {"type": "mcp_elicitation"}, {"action_requests": []}, [{"action_request": {}}], [1]]
)
def test_what_is_not_ours(value: Any) -> None:
    """Other interrupts are other people's."""
    assert native_payload(value) is None


WAKE: list[Any] = [
    True,
    False,
    "",
    "ok",
    {},
    {"status": "authorized"},
    {"action": "accept"},
    {"decisions": [{"type": "approve"}]},
    {"decisions": [{"type": "respond", "message": "I did it."}]},
    {"responses": {"auth-demo": {"action": "accept"}}},
    {"decisions": [{"type": "edit", "edited_action": {"name": "connect_demo", "args": ONE.payload()}}]},
    [{"type": "accept", "args": None}],
    [{"type": "accept", "args": {"action": "connect_demo", "args": ONE.payload()}}],
    [{"type": "edit", "args": {"action": "connect_demo", "args": ONE.payload()}}],
    [{"type": "response", "args": "done"}],
    "http://[broken",
    None,
    1,
]
REFUSE: list[Any] = [
    {"status": "cancelled"},
    {"action": "decline"},
    {"action": "cancel"},
    {"decisions": [{"type": "reject", "message": "no"}]},
    {"decisions": [{"type": "approve"}, {"type": "reject"}]},
    {"responses": {"auth-demo": {"action": "decline"}}},
    [{"type": "ignore", "args": None}],
    "cancel",
    " Decline\n",
    [{"type": "response", "args": "cancel"}],
]
BRING: list[Any] = [
    CALLBACK,
    f"  {CALLBACK}\n",
    {"callback_url": CALLBACK},
    {"decisions": [{"type": "respond", "message": CALLBACK}]},
    [{"type": "response", "args": CALLBACK}],
    {"responses": {"auth-demo": {"action": "accept", "content": {"url": CALLBACK}}}},
]


@pytest.mark.parametrize("answer", WAKE, ids=repr)
def test_what_only_wakes_the_run(answer: Any) -> None:
    """Nothing in it gives authority: the store is asked."""
    assert read_answer(answer) is None


@pytest.mark.parametrize("answer", REFUSE, ids=repr)
def test_what_refuses(answer: Any) -> None:
    """This library's words, MCP elicitation's, the review middleware's and Agent Inbox's."""
    with pytest.raises(AuthorizationDenied):
        read_answer(answer)


@pytest.mark.parametrize("answer", BRING, ids=repr)
def test_what_brings_a_callback_url(answer: Any) -> None:
    """Wherever an interface lets a person type."""
    assert read_answer(answer) == CALLBACK


@pytest.mark.parametrize("answer", [answer for answer in (*WAKE, *REFUSE, *BRING) if isinstance(answer, dict) and "decisions" in answer])
def test_review_answers_are_the_middlewares(answer: Any) -> None:
    """The answers above are `HITLResponse`s."""
    assert TypeAdapter(HITLResponse).validate_python(answer)


@pytest.mark.parametrize("answer", [answer for answer in (*WAKE, *REFUSE, *BRING) if isinstance(answer, list)])
def test_inbox_answers_are_agent_inboxs(answer: Any) -> None:
    """The answers above are `HumanResponse`s."""
    assert TypeAdapter(list[HumanResponse]).validate_python(answer, extra="forbid")


def test_every_answer_of_an_interface_is_understood() -> None:
    """Of each type that the review middleware and Agent Inbox have, there is one above."""
    given = [part["type"] for answer in (*WAKE, *REFUSE, *BRING) for part in parts_of(answer)]
    assert set(given) == {"approve", "edit", "reject", "respond", *get_args(get_type_hints(HumanResponse)["type"])}


def parts_of(answer: Any) -> list[dict[str, Any]]:
    return answer if isinstance(answer, list) else answer.get("decisions", []) if isinstance(answer, dict) else []


def test_a_format_needs_interrupts() -> None:
    """An `on_auth_required` that makes none cannot be shaped; a format that does not exist is named."""
    form: Any = "table"
    with pytest.raises(ConfigurationError, match="'native', 'hitl', 'inbox', 'elicitation'"):
        MCPOAuthToolkit({}, store="sqlite://", interrupt_format=form)
    with pytest.raises(ConfigurationError, match="interrupt_run"):
        MCPOAuthToolkit({}, store="sqlite://", interrupt_format="hitl", on_auth_required=raise_auth_required)
