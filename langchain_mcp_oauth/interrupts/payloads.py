"""What an interrupt shows: this library's own shape, or one that an interface already renders. Rules: values in, a value out.

Every shape but a caller's own keeps the native payload, so that `auth_interrupts` finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from langchain_mcp_oauth.errors import AuthRequired, PersonRequired

__all__ = ["InterruptFormat", "native_payload", "shape"]

InterruptFormat: TypeAlias = Literal["native", "hitl", "inbox", "elicitation"] | Callable[[dict[str, Any]], Any]

OURS = frozenset({"mcp_auth_required", "mcp_credentials_required"})
"""The `type` of our payloads."""


def shape(needed: PersonRequired, form: InterruptFormat) -> Any:
    """The interrupt's value in that format."""
    payload = needed.payload()
    if callable(form):
        return form(payload)
    if form == "hitl":
        return _as_review(payload)
    if form == "inbox":
        return _as_inbox(payload)
    if form == "elicitation" and isinstance(needed, AuthRequired):  # credentials have no URL; they are asked for after the logins
        return _as_elicitation(payload)
    return payload


def native_payload(value: object) -> dict[str, Any] | None:
    """Our payload in an interrupt's value of whatever shape; None if it is not one of ours."""
    if not isinstance(value, Mapping):
        return native_payload(value[0]) if isinstance(value, list) and value else None
    if value.get("type") in OURS:
        return dict(value)
    if isinstance(value.get("mcp_oauth"), Mapping):
        return native_payload(value["mcp_oauth"])
    request = value.get("action_request")
    return native_payload(request.get("args")) if isinstance(request, Mapping) else None


def _as_review(payload: dict[str, Any]) -> dict[str, Any]:
    """`HITLRequest` of LangChain's human-in-the-loop middleware: approve when it is done, reject to cancel, respond with a pasted URL."""
    several = payload.get("requests", [payload])
    actions = [{"name": f"connect_{one['server']}", "args": one, "description": _describe(one)} for one in several]
    reviews = [{"action_name": action["name"], "allowed_decisions": ["approve", "respond", "reject"]} for action in actions]
    return {"action_requests": actions, "review_configs": reviews, "mcp_oauth": payload}


def _as_inbox(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """`HumanInterrupt` of Agent Inbox, which shows one at a time: accept when it is done, ignore to cancel, respond with a pasted URL."""
    several = payload.get("requests", [payload])
    request = {"action": f"connect_{'_and_'.join(one['server'] for one in several)}", "args": payload}
    config = {"allow_accept": True, "allow_edit": False, "allow_respond": True, "allow_ignore": True}
    return [{"action_request": request, "config": config, "description": "\n\n".join(map(_describe, several))}]


def _describe(payload: Mapping[str, Any]) -> str:
    url = payload.get("authorization_url")
    return f"{payload['message']}\n\n{url}" if url else str(payload["message"])


def _as_elicitation(payload: dict[str, Any]) -> dict[str, Any]:
    """An elicitation in URL mode, as `langchain.mcp` interrupts for one; keyed by `auth_id`."""
    several = [one for one in payload.get("requests", [payload]) if "authorization_url" in one]
    requests = [{"key": one["auth_id"], "message": one["message"], "mode": "url", "url": one["authorization_url"]} for one in several]
    return {"type": "mcp_elicitation", "tool_name": payload["tool_name"] or "", "requests": requests, "mcp_oauth": payload}
