"""Every sentence of `store/contract.py`, held against every implementation and database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import anyio
import pytest
from pydantic import SecretStr

from langchain_mcp_oauth.models import TRANSITIONS, Grant, GrantKey, Lease, Listing, Reason, RequestStatus
from langchain_mcp_oauth.store import SQLModelTokenStore, TokenStore

from .store_samples import ENCRYPTION_KEY, ISSUER, KEY, NOW, REDIRECT, a_client, a_grant, a_listing, a_request, minutes

pytestmark = pytest.mark.anyio

Store = TokenStore
InProcesses = Callable[..., list[Any]]

OTHER_KEYS = [
    GrantKey("bob", KEY.server, KEY.url),
    GrantKey(KEY.user_id, "mail", KEY.url),
    GrantKey(KEY.user_id, KEY.server, KEY.url + "/"),
    GrantKey("Alice", KEY.server, KEY.url),
    GrantKey("alice ", KEY.server, KEY.url),
    GrantKey("ali", "cefiles", KEY.url),
    GrantKey("alice%", KEY.server, KEY.url),
    GrantKey("álice", KEY.server, KEY.url),
]


async def stored_request(store: Store, status: RequestStatus, name: str = "1", **changes: Any) -> None:
    """Bring a request into a status, by the ways the contract offers."""
    request = await store.open_request(a_request(name, **changes), now=NOW)
    if status in {RequestStatus.REDEEMING, RequestStatus.GRANTED, RequestStatus.FAILED}:
        assert await store.claim_request(request.auth_id, now=NOW, until=NOW + minutes(1))
    if status is RequestStatus.GRANTED:
        assert await store.grant_request(request.auth_id, a_grant(request.key))
    elif status in {RequestStatus.DENIED, RequestStatus.FAILED, RequestStatus.SUPERSEDED}:
        assert await store.close_request(request.auth_id, status)


async def status_of(store: Store, auth_id: str) -> RequestStatus | None:
    request = await store.load_request(auth_id)
    return request and request.status


async def test_every_method_is_implemented(store: Store) -> None:
    """None is left to the contract's empty bodies."""
    contract = {name for name in vars(TokenStore) if not name.startswith("_")}
    assert contract <= set(vars(type(store)))


# Grants -----------------------------------------------------------------------------------------------------------------------


async def test_a_grant_comes_back_as_it_went_in(store: Store) -> None:
    """Everything but the version is what was saved, secrets and microseconds included."""
    saved = await store.save_grant(a_grant())
    assert saved is not None
    assert replace(saved, version=0) == a_grant()
    assert await store.load_grant(KEY) == saved


async def test_times_come_back_aware_in_whatever_zone_they_went_in(store: Store) -> None:
    """A time of another zone is the same instant after storing."""
    expires = datetime(2026, 3, 1, 15, 30, tzinfo=timezone(timedelta(hours=3)))
    await store.save_grant(a_grant(tokens=replace(a_grant().tokens, expires_at=expires)))
    loaded = await store.load_grant(KEY)
    assert loaded is not None
    assert loaded.tokens.expires_at == expires
    assert loaded.tokens.expires_at.utcoffset() is not None


async def test_an_expired_grant_is_returned_too(store: Store) -> None:
    """Expiry is the caller's to judge."""
    await store.save_grant(a_grant(tokens=replace(a_grant().tokens, expires_at=NOW - timedelta(days=400))))
    assert await store.load_grant(KEY) is not None


async def test_no_grant_is_none(store: Store) -> None:
    """Nothing stored, nothing found."""
    assert await store.load_grant(KEY) is None


@pytest.mark.parametrize("other", OTHER_KEYS, ids=repr)
async def test_keys_are_compared_exactly(store: Store, other: GrantKey) -> None:
    """Near misses of a key are other keys: their grants live side by side."""
    mine, theirs = await store.save_grant(a_grant()), await store.save_grant(a_grant(other, access_token="theirs"))
    assert (await store.load_grant(KEY), await store.load_grant(other)) == (mine, theirs)


async def test_every_save_makes_a_new_version(store: Store) -> None:
    """Versions are positive and do not repeat for a key, not even after a deletion."""
    versions = set()
    for _ in range(5):
        grant = await store.save_grant(a_grant())
        assert grant is not None
        assert grant.version > 0
        versions.add(grant.version)
    await store.disconnect(KEY, now=NOW)
    grant = await store.save_grant(a_grant())
    assert grant is not None
    assert len(versions | {grant.version}) == 6


async def test_replacing_needs_the_stored_version(store: Store) -> None:
    """With `replaces`, a save meets exactly that version or changes nothing."""
    first = await store.save_grant(a_grant())
    assert first is not None
    second = await store.save_grant(a_grant(access_token="second"), replaces=first.version)
    assert second is not None
    assert second.version != first.version
    assert await store.save_grant(a_grant(access_token="late"), replaces=first.version) is None
    assert await store.load_grant(KEY) == second


@pytest.mark.parametrize("version", [0, 1])
async def test_replacing_what_is_not_there_stores_nothing(store: Store, version: int) -> None:
    """Somebody disconnected meanwhile: a refreshed token does not bring the grant back."""
    assert await store.save_grant(a_grant(), replaces=version) is None
    assert await store.load_grant(KEY) is None


async def test_a_save_without_a_version_wins(store: Store) -> None:
    """A new login replaces whatever is there."""
    await store.save_grant(a_grant(access_token="first"))
    new = await store.save_grant(a_grant(access_token="new login"))
    assert await store.load_grant(KEY) == new


async def test_accepting_keeps_the_version(store: Store) -> None:
    """`mark_accepted` sets the flag and the time of this version and nothing else."""
    grant = await store.save_grant(a_grant())
    assert grant is not None
    for now in (NOW, NOW + minutes(10)):
        await store.mark_accepted(KEY, grant.version, now=now)
        assert await store.load_grant(KEY) == replace(grant, accepted=True, used_at=now)


async def test_accepting_an_older_version_does_nothing(store: Store) -> None:
    """A late answer about an old token says nothing about the new one, and accepting nothing is no error."""
    first = await store.save_grant(a_grant())
    assert first is not None
    second = await store.save_grant(a_grant())
    await store.mark_accepted(KEY, first.version, now=NOW)
    await store.mark_accepted(GrantKey("nobody", "x", "y"), first.version, now=NOW)
    assert await store.load_grant(KEY) == second


async def test_deleting_needs_the_stored_version(store: Store) -> None:
    """Only the call that deletes says so; a newer grant stays."""
    old = await store.save_grant(a_grant())
    grant = await store.save_grant(a_grant())
    assert old is not None
    assert grant is not None
    assert not await store.delete_grant(KEY, old.version)
    assert await store.load_grant(KEY) == grant
    assert [await store.delete_grant(KEY, grant.version), await store.delete_grant(KEY, grant.version)] == [True, False]
    assert await store.load_grant(KEY) is None


async def test_grants_of_one_user_are_listed_by_server(store: Store) -> None:
    """Sorted by the server's name as Python compares text, and nobody else's among them."""
    for user, server in [("alice", "b"), ("alice", "a"), ("alice", "B"), ("bob", "c")]:
        await store.save_grant(a_grant(GrantKey(user, server, KEY.url)))
    assert [(grant.key.user_id, grant.key.server) for grant in await store.list_grants("alice")] == [
        ("alice", "B"),
        ("alice", "a"),
        ("alice", "b"),
    ]
    assert list(await store.list_grants("carol")) == []


@pytest.mark.parametrize("kind", ["dynamic", "metadata_document", "preregistered"])
async def test_the_secret_of_a_configured_client_is_not_stored(store: Store, kind: str) -> None:
    """It comes from the configuration at use; a dynamic registration's secret is nowhere else and is kept."""
    client = a_client(kind=kind)
    expected = replace(client, client_secret=None) if kind == "preregistered" else client
    saved = await store.save_grant(a_grant(client=client))
    opened = await store.open_request(a_request(client=client), now=NOW)
    await store.save_client(client, KEY.url)
    loaded = await store.load_grant(KEY)
    request = await store.load_request("auth-1")
    assert [each.client for each in (saved, opened, loaded, request) if each] == [expected] * 4
    assert await store.load_client(ISSUER, REDIRECT, KEY.url) == expected


async def test_disconnecting_takes_the_grant_and_the_open_requests(store: Store) -> None:
    """Pending and redeeming requests of the key are superseded, others untouched; the deleted grant is returned once."""
    other = GrantKey("bob", KEY.server, KEY.url)
    await stored_request(store, RequestStatus.DENIED, "denied")
    await stored_request(store, RequestStatus.REDEEMING, "redeeming")
    await stored_request(store, RequestStatus.PENDING, "pending")
    await stored_request(store, RequestStatus.PENDING, "bob", key=other)
    grant, theirs = await store.save_grant(a_grant()), await store.save_grant(a_grant(other))
    assert [await store.disconnect(KEY, now=NOW), await store.disconnect(KEY, now=NOW)] == [grant, None]
    assert await store.load_grant(KEY) is None
    assert await store.load_grant(other) == theirs
    assert {name: await status_of(store, f"auth-{name}") for name in ("denied", "redeeming", "pending", "bob")} == {
        "denied": RequestStatus.DENIED,
        "redeeming": RequestStatus.SUPERSEDED,
        "pending": RequestStatus.SUPERSEDED,
        "bob": RequestStatus.PENDING,
    }


async def test_disconnecting_without_a_grant_still_voids_requests(store: Store) -> None:
    """A login in flight does not survive."""
    await stored_request(store, RequestStatus.REDEEMING)
    assert await store.disconnect(KEY, now=NOW) is None
    assert await store.grant_request("auth-1", a_grant()) is None
    assert await store.load_grant(KEY) is None


# Revocations --------------------------------------------------------------------------------------------------------------------


async def test_a_disconnected_grant_is_to_be_revoked(store: Store) -> None:
    """By the caller within a minute, then by whoever comes first, until somebody says that it is done."""
    grant = await store.save_grant(a_grant())
    await store.disconnect(KEY, now=NOW)
    assert await store.claim_revocations(now=NOW + minutes(0.99), until=NOW + minutes(9)) == []
    assert await store.claim_revocations(now=NOW + minutes(1), until=NOW + minutes(9)) == [grant]
    assert await store.claim_revocations(now=NOW + minutes(8.99), until=NOW + minutes(20)) == []
    assert await store.claim_revocations(now=NOW + minutes(9), until=NOW + minutes(20)) == [grant]
    assert grant is not None
    await store.end_revocation(grant)
    await store.end_revocation(grant)
    assert await store.claim_revocations(now=NOW + minutes(20), until=NOW + minutes(30)) == []


async def test_what_cannot_be_revoked_is_gone(store: Store) -> None:
    """Where the issuer has no such endpoint."""
    await store.save_grant(a_grant(revocation_endpoint=None))
    await store.disconnect(KEY, now=NOW)
    assert await store.claim_revocations(now=NOW + minutes(1), until=NOW + minutes(9)) == []


async def test_revocations_end_some_day(store: Store) -> None:
    """After 30 days nobody gets them, and purging deletes them."""
    await store.save_grant(a_grant())
    await store.disconnect(KEY, now=NOW)
    assert await store.purge(now=NOW + timedelta(days=29)) == 0
    assert await store.claim_revocations(now=NOW + timedelta(days=30), until=NOW + timedelta(days=31)) == []
    assert await store.purge(now=NOW + timedelta(days=30)) == 1


async def test_revocations_come_a_hundred_at_a_time(store: Store) -> None:
    """Those that have waited longest first, each to one of those who ask at once."""
    keys = [GrantKey(f"user-{number}", "files", KEY.url) for number in range(103)]
    for number, key in enumerate(keys):
        await store.save_grant(a_grant(key))
        await store.disconnect(key, now=NOW + minutes(number))
    late = {"now": NOW + minutes(200), "until": NOW + minutes(300)}
    assert [grant.key for grant in await store.claim_revocations(**late)] == keys[:100]
    claims = await asyncio.gather(*(store.claim_revocations(**late) for _ in range(3)))
    assert sorted(grant.key.user_id for claimed in claims for grant in claimed) == ["user-100", "user-101", "user-102"]


# Authorization requests -------------------------------------------------------------------------------------------------------


async def test_a_request_comes_back_as_it_went_in(store: Store) -> None:
    """By handle and by state, with every secret."""
    request = a_request(reason=Reason.STEP_UP)
    assert await store.open_request(request, now=NOW) == request
    assert await store.load_request("auth-1") == request
    assert await store.load_request_by_state(SecretStr("canary-state-1")) == request


async def test_unknown_handles_and_states_are_none(store: Store) -> None:
    """A handle is not a state and a state is not a handle."""
    await store.open_request(a_request(), now=NOW)
    assert await store.load_request("canary-state-1") is None
    assert await store.load_request_by_state(SecretStr("auth-1")) is None
    assert await store.load_request_by_state(SecretStr("Canary-state-1")) is None


@pytest.mark.parametrize(("later", "found"), [(0, True), (9.99, True), (10, False), (11, False)])
async def test_an_open_request_is_found_until_it_expires(store: Store, later: float, found: bool) -> None:
    """From `expires_at` on it is not open any more."""
    request = await store.open_request(a_request(), now=NOW)
    assert await store.find_open_request(KEY, now=NOW + minutes(later)) == (request if found else None)


@pytest.mark.parametrize("status", [status for status in RequestStatus if status is not RequestStatus.PENDING])
async def test_only_a_pending_request_is_open(store: Store, status: RequestStatus) -> None:
    """A request in any other status is not found, but can still be loaded."""
    await stored_request(store, status)
    assert await store.find_open_request(KEY, now=NOW) is None
    assert await status_of(store, "auth-1") is status
    by_state = await store.load_request_by_state(SecretStr("canary-state-1"))
    assert by_state is not None
    assert by_state.status is status


async def test_requests_of_other_keys_are_not_found(store: Store) -> None:
    """Each key has its own open request."""
    opened = {key: await store.open_request(a_request(str(number), key=key), now=NOW) for number, key in enumerate([KEY, *OTHER_KEYS])}
    assert {key: await store.find_open_request(key, now=NOW) for key in opened} == opened


@pytest.mark.parametrize("scopes", [("files:read", "files:write"), ("files:write",), ()])
async def test_an_open_request_is_joined(store: Store, scopes: tuple[str, ...]) -> None:
    """It is returned unchanged to everybody whose scopes it asks for; what they brought is not stored."""
    first = await store.open_request(a_request("1", scopes=("files:read", "files:write")), now=NOW)
    again = a_request("2", scopes=scopes, reason=Reason.EXPIRED, code_verifier=SecretStr("other"), expires_at=NOW + minutes(60))
    assert await store.open_request(again, now=NOW + minutes(5)) == first
    assert await store.load_request("auth-2") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"scopes": ("files:read", "files:write")},
        {"scopes": ("files:Read",)},
        {"issuer": "https://other.example"},
        {"redirect_uri": "https://app.example/other"},
        {"client": a_client(client_id="client-2")},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_an_open_request_that_does_not_fit_is_superseded(store: Store, changes: dict[str, Any]) -> None:
    """Then the new one is open."""
    await store.open_request(a_request("1"), now=NOW)
    second = a_request("2", **changes)
    assert await store.open_request(second, now=NOW) == second
    assert await store.find_open_request(KEY, now=NOW) == second
    assert await status_of(store, "auth-1") is RequestStatus.SUPERSEDED


async def test_an_expired_request_is_superseded(store: Store) -> None:
    """At its `expires_at` a request is joined no more."""
    await store.open_request(a_request("1"), now=NOW)
    second = a_request("2", expires_at=NOW + minutes(20))
    assert await store.open_request(second, now=NOW + minutes(10)) == second
    assert await status_of(store, "auth-1") is RequestStatus.SUPERSEDED


async def test_a_redeeming_request_is_left_alone(store: Store) -> None:
    """A second request may open beside it, and the first answer is still good as long as the second has none."""
    await stored_request(store, RequestStatus.REDEEMING, "1")
    second = await store.open_request(a_request("2"), now=NOW)
    assert second.auth_id == "auth-2"
    assert await store.grant_request("auth-1", a_grant())
    assert await store.find_open_request(KEY, now=NOW) == second


async def test_a_newer_grant_ends_older_answers(store: Store) -> None:
    """Once the second request is granted, the first one's late answer cannot replace it."""
    await stored_request(store, RequestStatus.REDEEMING, "1")
    await stored_request(store, RequestStatus.REDEEMING, "2")
    new = await store.grant_request("auth-2", a_grant(access_token="second"))
    assert await status_of(store, "auth-1") is RequestStatus.SUPERSEDED
    assert await store.grant_request("auth-1", a_grant(access_token="first")) is None
    assert await store.load_grant(KEY) == new


async def test_an_older_grant_does_not_end_newer_answers(store: Store) -> None:
    """The second request, which may ask for more, is still redeeming and wins when it arrives."""
    await stored_request(store, RequestStatus.REDEEMING, "1")
    await stored_request(store, RequestStatus.REDEEMING, "2")
    assert await store.grant_request("auth-1", a_grant(access_token="first"))
    new = await store.grant_request("auth-2", a_grant(access_token="second"))
    assert new is not None
    assert await store.load_grant(KEY) == new


async def test_another_users_answer_is_left_alone(store: Store) -> None:
    """Granting ends older answers of the same key only."""
    await stored_request(store, RequestStatus.REDEEMING, "bob", key=GrantKey("bob", KEY.server, KEY.url))
    await stored_request(store, RequestStatus.GRANTED, "1")
    assert await status_of(store, "auth-bob") is RequestStatus.REDEEMING


@pytest.mark.parametrize(("later", "won"), [(0, True), (9.99, True), (10, False)])
async def test_a_pending_request_can_be_claimed_until_it_expires(store: Store, later: float, won: bool) -> None:
    """Then it is redeeming until the given time; an expired one stays as it is."""
    await stored_request(store, RequestStatus.PENDING)
    now = NOW + minutes(later)
    assert await store.claim_request("auth-1", now=now, until=now + minutes(1)) is won
    request = await store.load_request("auth-1")
    assert request is not None
    assert request.status is (RequestStatus.REDEEMING if won else RequestStatus.PENDING)
    assert request.redeeming_until == (now + minutes(1) if won else None)


@pytest.mark.parametrize(("later", "won"), [(0, False), (0.99, False), (1, True), (60, True)])
async def test_a_claim_lapses(store: Store, later: float, won: bool) -> None:
    """A redeeming request can be claimed again once its holder's time is over, even after the request's own expiry."""
    await stored_request(store, RequestStatus.REDEEMING)
    now = NOW + minutes(later)
    assert await store.claim_request("auth-1", now=now, until=now + minutes(1)) is won


@pytest.mark.parametrize("status", [RequestStatus.GRANTED, RequestStatus.DENIED, RequestStatus.FAILED, RequestStatus.SUPERSEDED])
async def test_an_ended_request_cannot_be_claimed(store: Store, status: RequestStatus) -> None:
    """Not even long after a claim on it has lapsed."""
    await stored_request(store, status)
    assert not await store.claim_request("auth-1", now=NOW + minutes(9), until=NOW + minutes(10))
    assert await status_of(store, "auth-1") is status


async def test_an_unknown_request_cannot_be_changed(store: Store) -> None:
    """No row, no winner."""
    assert not await store.claim_request("auth-1", now=NOW, until=NOW + minutes(1))
    assert not await store.close_request("auth-1", RequestStatus.SUPERSEDED)
    assert await store.grant_request("auth-1", a_grant()) is None


async def test_granting_saves_a_new_login(store: Store) -> None:
    """Status and grant change together; an earlier grant is replaced whatever its version."""
    before = await store.save_grant(a_grant(access_token="before", accepted=True))
    await stored_request(store, RequestStatus.REDEEMING)
    granted = await store.grant_request("auth-1", a_grant(access_token="new"))
    assert before is not None
    assert granted is not None
    assert replace(granted, version=0) == a_grant(access_token="new")
    assert granted.version != before.version
    assert await store.load_grant(KEY) == granted
    assert await status_of(store, "auth-1") is RequestStatus.GRANTED


@pytest.mark.parametrize("status", [status for status in RequestStatus if status is not RequestStatus.REDEEMING])
async def test_granting_needs_a_redeeming_request(store: Store, status: RequestStatus) -> None:
    """From any other status nothing is saved."""
    await stored_request(store, status)
    before = await store.load_grant(KEY)
    assert await store.grant_request("auth-1", a_grant(access_token="late")) is None
    assert await store.load_grant(KEY) == before
    assert await status_of(store, "auth-1") is status


async def test_a_grant_of_another_key_is_not_granted(store: Store) -> None:
    """A request is never answered with somebody else's grant."""
    await stored_request(store, RequestStatus.REDEEMING)
    other = GrantKey("bob", KEY.server, KEY.url)
    assert await store.grant_request("auth-1", a_grant(other)) is None
    assert await store.load_grant(other) is None
    assert await status_of(store, "auth-1") is RequestStatus.REDEEMING


@pytest.mark.parametrize("target", RequestStatus)
@pytest.mark.parametrize("status", RequestStatus)
async def test_closing_follows_the_table(store: Store, status: RequestStatus, target: RequestStatus) -> None:
    """A request reaches a final status only where `TRANSITIONS` allows it, and an unfinished one never by closing."""
    await stored_request(store, status)
    allowed = target not in TRANSITIONS and target in TRANSITIONS.get(status, frozenset())
    assert await store.close_request("auth-1", target) is allowed
    assert await status_of(store, "auth-1") is (target if allowed else status)


# Clients ----------------------------------------------------------------------------------------------------------------------


async def test_a_client_is_found_by_issuer_redirect_and_url(store: Store) -> None:
    """A registration for one of them is not one for another."""
    await store.save_client(a_client(), KEY.url)
    assert await store.load_client(ISSUER, REDIRECT, KEY.url) == a_client()
    for identity in [("https://x", REDIRECT, KEY.url), (ISSUER, "https://x", KEY.url), (ISSUER, REDIRECT, "https://x")]:
        assert await store.load_client(*identity) is None


async def test_a_new_registration_replaces_the_old_one(store: Store) -> None:
    """There is one for each identity."""
    await store.save_client(a_client(), KEY.url)
    await store.save_client(a_client(client_id="client-2", client_secret=None), KEY.url)
    assert await store.load_client(ISSUER, REDIRECT, KEY.url) == a_client(client_id="client-2", client_secret=None)


async def test_deleting_a_client_leaves_a_newer_one(store: Store) -> None:
    """Two processes that find the same client rejected do not delete each other's new registration."""
    await store.save_client(a_client(client_id="new"), KEY.url)
    assert not await store.delete_client(a_client(client_id="old"), KEY.url)
    assert not await store.delete_client(a_client(client_id="new"), "https://other.example")
    assert [await store.delete_client(a_client(client_id="new"), KEY.url) for _ in range(2)] == [True, False]
    assert await store.load_client(ISSUER, REDIRECT, KEY.url) is None


# Leases -----------------------------------------------------------------------------------------------------------------------


async def test_a_lease_is_held_by_one(store: Store) -> None:
    """Until it ends, nobody else gets it."""
    lease = await store.acquire_lease(("refresh", "x"), now=NOW, duration=minutes(1))
    assert lease is not None
    assert (lease.name, lease.until) == (("refresh", "x"), NOW + minutes(1))
    assert await store.acquire_lease(("refresh", "x"), now=NOW + minutes(0.99), duration=minutes(1)) is None
    assert await store.acquire_lease(("refresh", "x"), now=NOW - minutes(5), duration=minutes(1)) is None


async def test_a_lapsed_lease_goes_to_the_next(store: Store) -> None:
    """At its end it is free, with a new holder; the late holder cannot give it away."""
    first = await store.acquire_lease(("refresh", "x"), now=NOW, duration=minutes(1))
    second = await store.acquire_lease(("refresh", "x"), now=NOW + minutes(1), duration=minutes(1))
    assert first is not None
    assert second is not None
    assert first.holder != second.holder
    await store.release_lease(first)
    assert await store.acquire_lease(("refresh", "x"), now=NOW + minutes(1), duration=minutes(1)) is None


async def test_a_released_lease_is_free(store: Store) -> None:
    """Releasing twice, or what was never held, is no error."""
    lease = await store.acquire_lease(("refresh", "x"), now=NOW, duration=minutes(1))
    assert lease is not None
    await store.release_lease(lease)
    await store.release_lease(lease)
    await store.release_lease(Lease(("never",), "nobody", NOW))
    assert await store.acquire_lease(("refresh", "x"), now=NOW, duration=minutes(1))


REFRESH = ("refresh", KEY.user_id, KEY.server, KEY.url)


async def test_a_grant_is_leased_as_it_is_stored(store: Store) -> None:
    """The grant comes with the lease; the next one sees the grant, and that somebody is at it, until the lease ends."""
    saved = await store.save_grant(a_grant())
    assert saved is not None
    grant, lease = await store.lease_grant(KEY, saved.version, now=NOW, duration=minutes(1))
    assert (grant, lease and (lease.name, lease.until)) == (saved, (REFRESH, NOW + minutes(1)))
    assert await store.lease_grant(KEY, saved.version, now=NOW + minutes(0.9), duration=minutes(1)) == (saved, None)
    assert (await store.lease_grant(KEY, saved.version, now=NOW + minutes(1), duration=minutes(1)))[1] is not None


@pytest.mark.parametrize("stored", [True, False])
async def test_a_grant_that_is_another_is_not_leased(store: Store, stored: bool) -> None:
    """Somebody has refreshed it, or disconnected: there is nothing to do, and nobody is kept waiting for it."""
    other = await store.save_grant(a_grant()) if stored else None
    assert await store.lease_grant(KEY, 7, now=NOW, duration=minutes(1)) == (other, None)
    assert await store.acquire_lease(REFRESH, now=NOW, duration=minutes(1)) is not None


@pytest.mark.parametrize("wins", [True, False])
async def test_a_lease_goes_back_with_what_is_saved(store: Store, wins: bool) -> None:
    """Also where somebody else's login has come first. Another's lease stays."""
    saved = await store.save_grant(a_grant())
    assert saved is not None
    _, lease = await store.lease_grant(KEY, saved.version, now=NOW, duration=minutes(1))
    other = await store.acquire_lease(("other",), now=NOW, duration=minutes(1))
    assert lease is not None
    assert other is not None
    again = await store.save_grant(a_grant(), replaces=saved.version if wins else 7, lease=lease)
    assert (again is not None) is wins
    assert await store.acquire_lease(REFRESH, now=NOW, duration=minutes(1)) is not None
    assert await store.acquire_lease(("other",), now=NOW, duration=minutes(1)) is None


NAMES = [
    ("a", "b"),
    ("b", "a"),
    ("ab",),
    ("a", "b", ""),
    ("", "a", "b"),
    ("a,b",),
    ('a","b',),
    ("a\0b",),
    ("a" * 5000,),
    ("a" * 5001,),
    ("ä",),
]


async def test_names_are_compared_exactly(store: Store) -> None:
    """As lists of parts, of any length: no two different names are one lease or one counter."""
    leases = [await store.acquire_lease(name, now=NOW, duration=minutes(1)) for name in NAMES]
    counts = [await store.count(name, now=NOW, window=minutes(1)) for name in NAMES]
    assert None not in leases
    assert counts == [1] * len(NAMES)


# Credentials ------------------------------------------------------------------------------------------------------------------


def secrets(**values: str) -> dict[str, SecretStr]:
    return {name: SecretStr(value) for name, value in values.items()}


async def test_credentials_come_back_as_they_went_in(store: Store) -> None:
    """Those of one name are replaced, others stay; each save is a new version; each key has its own."""
    assert await store.load_credentials(KEY) is None
    first = await store.save_credentials(KEY, secrets(A="1", B="2"))
    second = await store.save_credentials(KEY, secrets(B="3"))
    assert second.values == secrets(A="1", B="3")
    assert second.version not in {first.version, 0}
    assert await store.load_credentials(KEY) == second
    for other in (replace(KEY, user_id="other"), replace(KEY, server="other"), replace(KEY, url="https://other.example/mcp")):
        assert await store.load_credentials(other) is None
        assert (await store.save_credentials(other, secrets(A="theirs"))).values == secrets(A="theirs")
    assert await store.load_credentials(KEY) == second


async def test_credentials_go_when_their_user_disconnects(store: Store) -> None:
    """With a login or without one; those of others stay."""
    bob = replace(KEY, user_id="bob")
    for key in (KEY, bob):
        await store.save_credentials(key, secrets(A="1"))
    assert await store.disconnect(KEY, now=NOW) is None
    assert await store.load_credentials(KEY) is None
    await store.save_grant(a_grant(bob))
    assert await store.disconnect(bob, now=NOW) is not None
    assert await store.load_credentials(bob) is None


async def test_credentials_that_come_at_once_are_all_kept(store: Store) -> None:
    """Whoever is second adds to what the first has saved."""
    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(store.save_credentials, KEY, secrets(**{f"K{number}": "v"}))
    kept = await store.load_credentials(KEY)
    assert kept is not None
    assert set(kept.values) == {f"K{number}" for number in range(8)}


# Pinned tools -----------------------------------------------------------------------------------------------------------------


async def test_a_tool_is_pinned_as_it_was_first_seen(store: Store) -> None:
    """New ones are added, none is changed or lost, and each key has its own."""
    assert await store.pin_tools(KEY, {"a": "1"}) == {"a": "1"}
    assert await store.pin_tools(KEY, {"b": "2"}) == {"a": "1", "b": "2"}
    assert await store.pin_tools(KEY, {"a": "other"}) == {"a": "1", "b": "2"}
    for other in (replace(KEY, user_id="other"), replace(KEY, server="other"), replace(KEY, url="https://other.example/mcp")):
        assert await store.pin_tools(other, {"a": "theirs"}) == {"a": "theirs"}


async def test_a_change_is_accepted_or_all_forgotten(store: Store) -> None:
    """Of those named, or of all; a login that ends changes nothing."""
    await store.repin_tools(KEY, {"a": "1", "b": "2"})
    await store.repin_tools(KEY, {"a": "3"})
    await store.disconnect(KEY, now=NOW)
    assert await store.pin_tools(KEY, {"a": "4"}) == {"a": "3", "b": "2"}
    await store.repin_tools(KEY, None)
    assert await store.pin_tools(KEY, {"a": "4"}) == {"a": "4"}


async def test_the_number_of_pinned_tools_is_bounded(store: Store) -> None:
    """A server that lists other names each time fills no database; those that are not remembered are missing."""
    await store.pin_tools(KEY, {f"t{n}": "1" for n in range(4_999)})
    kept = await store.pin_tools(KEY, {"one": "1", "too many": "1"})
    assert (len(kept), "one" in kept, "too many" in kept) == (5_000, True, False)
    assert len(await store.pin_tools(KEY, {"too many": "1"})) == 5_000


async def test_pinning_at_once_loses_nothing(store: Store) -> None:
    """Whoever is second finds what the first has pinned."""
    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(store.pin_tools, KEY, {"shared": str(number), str(number): "own"})
    pinned = await store.pin_tools(KEY, {})
    assert set(pinned) == {"shared", *map(str, range(8))}


# Counters ---------------------------------------------------------------------------------------------------------------------


async def test_a_counter_counts_within_its_window(store: Store) -> None:
    """Counting does not extend the window; once it is over the count starts again at one."""
    for expected, later in [(1, 0), (2, 0.5), (3, 0.99), (1, 1), (2, 1.99), (1, 2.5)]:
        now = NOW + minutes(later)
        assert await store.count(("x",), now=now, window=minutes(1)) == expected
        assert await store.counted(("x",), now=now) == expected


async def test_a_counter_that_is_over_stands_at_zero(store: Store) -> None:
    """As does one that never was; counting then starts at one."""
    assert await store.counted(("x",), now=NOW) == 0
    await store.count(("x",), now=NOW, window=minutes(1))
    assert [await store.counted(("x",), now=NOW + minutes(later)) for later in (0.99, 1)] == [1, 0]
    assert await store.count(("x",), now=NOW + minutes(1), window=minutes(1)) == 1


# Housekeeping -----------------------------------------------------------------------------------------------------------------


async def test_purging_deletes_what_has_no_use(store: Store) -> None:
    """Old requests, lapsed leases and counters; grants, clients and all that is younger stay. A second time there is nothing to do."""
    day = timedelta(days=1)
    late = NOW + day + minutes(10)
    await store.save_grant(a_grant())
    await store.save_client(a_client(), KEY.url)
    for number, status in enumerate(RequestStatus):
        await stored_request(store, status, f"old-{number}", key=GrantKey(f"user-{number}", "files", KEY.url))
    await stored_request(store, RequestStatus.PENDING, "young", expires_at=late - day + minutes(1))
    await stored_request(store, RequestStatus.PENDING, "claimed", key=OTHER_KEYS[0])
    assert await store.claim_request("auth-claimed", now=NOW + minutes(9), until=NOW + minutes(11))
    await store.acquire_lease(("old",), now=NOW, duration=minutes(1))
    await store.count(("old",), now=NOW, window=minutes(1))
    await store.acquire_lease(("young",), now=late, duration=minutes(1))
    await store.count(("young",), now=late, window=minutes(1))

    assert await store.purge(now=late) == len(RequestStatus) + 2
    assert await store.purge(now=late) == 0
    assert [await store.load_request(f"auth-old-{number}") for number in range(len(RequestStatus))] == [None] * len(RequestStatus)
    assert await status_of(store, "auth-young") is RequestStatus.PENDING
    assert await status_of(store, "auth-claimed") is RequestStatus.REDEEMING
    assert await store.acquire_lease(("young",), now=late, duration=minutes(1)) is None
    assert await store.counted(("young",), now=late) == 1
    assert await store.load_grant(KEY)
    assert await store.load_client(ISSUER, REDIRECT, KEY.url)


@pytest.mark.parametrize("status", RequestStatus)
async def test_purging_keeps_what_ended_today(store: Store, status: RequestStatus) -> None:
    """Within a day of its expiry a request is remembered, so that a late callback is told what became of it."""
    await stored_request(store, status)
    assert await store.purge(now=NOW + timedelta(hours=24, minutes=9)) == 0
    assert await status_of(store, "auth-1") is status


# Tool listings ------------------------------------------------------------------------------------------------------------------


async def save_listing(store: Store, listing: Listing, document: str = "canary-document") -> None:
    await store.save_listings([listing], {listing.digest: document})


async def test_a_listing_comes_back_as_it_went_in(store: Store) -> None:
    """Of exactly this user, by server; those told the same share one document."""
    other = GrantKey(KEY.user_id, "apples", KEY.url)
    await save_listing(store, a_listing())
    await save_listing(store, a_listing(other, public=False))
    for key in OTHER_KEYS[3:]:
        await save_listing(store, a_listing(key))
    assert await store.load_listings([KEY.user_id]) == [a_listing(other, public=False), a_listing()]
    assert await store.load_documents({"digest-1", "digest-2"}) == {"digest-1": "canary-document"}


async def test_what_anybody_is_told_is_nobodys(store: Store) -> None:
    """The empty user id is a user id like any other."""
    anybodys = GrantKey("", KEY.server, KEY.url)
    await save_listing(store, a_listing(anybodys))
    assert await store.load_listings([""]) == [a_listing(anybodys)]
    assert await store.load_listings([KEY.user_id]) == []


async def test_many_listings_go_in_at_once(store: Store) -> None:
    """Some of them in the place of others; they come back for exactly the users that are asked for, by user and server."""
    await save_listing(store, a_listing())
    new = [a_listing(digest="digest-2"), *map(a_listing, OTHER_KEYS)]
    await store.save_listings(new, {"digest-1": "canary-document", "digest-2": "canary-document-2"})
    bob, alice = OTHER_KEYS[0].user_id, KEY.user_id
    assert await store.load_listings({alice, bob}) == sorted(
        (one for one in new if one.key.user_id in {alice, bob}), key=lambda one: astuple(one.key)
    )
    assert await store.load_documents({"digest-1", "digest-2"}) == {"digest-1": "canary-document", "digest-2": "canary-document-2"}


async def test_a_new_listing_replaces_the_old_one(store: Store) -> None:
    """Its document goes with the next purge."""
    await save_listing(store, a_listing())
    new = a_listing(digest="digest-2", listed_at=NOW + minutes(1))
    await save_listing(store, new, "canary-document-2")
    assert await store.load_listings([KEY.user_id]) == [new]
    assert await store.purge(now=NOW) == 1
    assert await store.load_documents({"digest-1", "digest-2"}) == {"digest-2": "canary-document-2"}


async def test_a_listing_can_be_put_out_of_date(store: Store) -> None:
    """It stays, as the last one; nothing is made fresher than it was; other users' are as before."""
    await save_listing(store, a_listing())
    await save_listing(store, a_listing(OTHER_KEYS[0]))
    await store.outdate_listing(KEY, now=NOW + minutes(1))
    await store.outdate_listing(KEY, now=NOW + minutes(2))
    assert await store.load_listings([KEY.user_id]) == [a_listing(fresh_until=NOW + minutes(1))]
    assert await store.load_listings([OTHER_KEYS[0].user_id]) == [a_listing(OTHER_KEYS[0])]


@pytest.mark.parametrize("end", ["disconnect", "log in", "complete"])
async def test_a_listing_ends_with_its_login(store: Store, end: str) -> None:
    """What was listed to one login is not shown to the next; a refresh is no new login; other users keep theirs."""
    saved = await store.save_grant(a_grant())
    assert saved is not None
    for key in (KEY, OTHER_KEYS[0]):
        await save_listing(store, a_listing(key))
    await store.save_grant(a_grant(), replaces=saved.version)
    assert await store.load_listings([KEY.user_id]) == [a_listing()]
    if end == "disconnect":
        await store.disconnect(KEY, now=NOW)
    elif end == "log in":
        await store.save_grant(a_grant())
    else:
        await stored_request(store, RequestStatus.GRANTED)
    assert await store.load_listings([KEY.user_id]) == []
    assert await store.load_listings([OTHER_KEYS[0].user_id]) == [a_listing(OTHER_KEYS[0])]


# Many tasks, threads, loops and processes ---------------------------------------------------------------------------------------


async def test_everybody_joins_one_request(store: Store) -> None:
    """Fifty tasks that ask at once get the same request."""
    opened = await asyncio.gather(*(store.open_request(a_request(str(number)), now=NOW) for number in range(50)))
    assert len({request.auth_id for request in opened}) == 1
    assert await store.find_open_request(KEY, now=NOW) == opened[0]


async def test_requests_that_do_not_fit_leave_one_open(store: Store) -> None:
    """When all ask for something else at once, each is answered, and one request is open in the end."""
    different = [a_request(str(number), scopes=(f"scope-{number}",)) for number in range(8)]
    opened = await asyncio.gather(*(store.open_request(request, now=NOW) for request in different))
    assert list(opened) == different
    statuses = [await status_of(store, request.auth_id) for request in different]
    assert sorted(statuses) == [RequestStatus.PENDING] + [RequestStatus.SUPERSEDED] * 7


async def test_one_task_wins(store: Store) -> None:
    """Of twenty tasks one claims, one replaces, one grants, one gets the lease; every count is given once."""
    grant = await store.save_grant(a_grant())
    assert grant is not None
    await stored_request(store, RequestStatus.PENDING)
    twenty = range(20)
    claims = await asyncio.gather(*(store.claim_request("auth-1", now=NOW, until=NOW + minutes(1)) for _ in twenty))
    replaced = await asyncio.gather(*(store.save_grant(a_grant(), replaces=grant.version) for _ in twenty))
    grants = await asyncio.gather(*(store.grant_request("auth-1", a_grant()) for _ in twenty))
    leases = await asyncio.gather(*(store.acquire_lease(("x",), now=NOW, duration=minutes(1)) for _ in twenty))
    counts = await asyncio.gather(*(store.count(("x",), now=NOW, window=minutes(1)) for _ in twenty))
    recounts = await asyncio.gather(*(store.count(("x",), now=NOW + minutes(1), window=minutes(1)) for _ in twenty))
    current = await store.load_grant(KEY)
    assert current is not None
    leased = await asyncio.gather(*(store.lease_grant(KEY, current.version, now=NOW, duration=minutes(1)) for _ in twenty))
    assert [sum(map(bool, results)) for results in (claims, replaced, grants, leases)] == [1, 1, 1, 1]
    assert [sum(lease is not None for _, lease in leased), {grant for grant, _ in leased}] == [1, {current}]
    assert sorted(counts) == sorted(recounts) == list(range(1, 21))


async def test_disconnecting_and_granting_at_once_leave_nothing_half(store: Store) -> None:
    """Either the login came first and is gone, or it came later and was not saved; no token outlives the disconnect."""
    for round_ in range(10):
        await stored_request(store, RequestStatus.REDEEMING, str(round_))
        granted, deleted = await asyncio.gather(store.grant_request(f"auth-{round_}", a_grant()), store.disconnect(KEY, now=NOW))
        assert granted == deleted
        assert await store.load_grant(KEY) is None


def test_a_store_works_from_several_event_loops_at_once(database: str) -> None:
    """Four threads, each with a loop of its own, share one store; also when it has not been used before."""
    store = SQLModelTokenStore(database, encryption_key=ENCRYPTION_KEY, migrate=True)

    async def work(user: str) -> Grant | None:
        key = GrantKey(user, "files", KEY.url)
        for _ in range(5):
            await asyncio.gather(store.save_grant(a_grant(key)), store.count(("x",), now=NOW, window=minutes(1)))
        return await store.load_grant(key)

    users = ["a", "b", "c", "d"]
    with ThreadPoolExecutor(4) as threads:
        grants = list(threads.map(lambda user: asyncio.run(work(user)), users))
    assert [grant and grant.key.user_id for grant in grants] == users
    assert asyncio.run(store.counted(("x",), now=NOW)) == 20
    asyncio.run(store.aclose())


async def test_processes_join_one_request(shared_store: Store, in_processes: InProcesses) -> None:
    """Three processes that start together on a database without tables make them once and get the same request."""
    opened = in_processes("open_requests")
    assert len(opened) == 15
    assert len(set(opened)) == 1
    request = await shared_store.find_open_request(KEY, now=NOW)
    assert request is not None
    assert request.auth_id == opened[0]


@pytest.mark.parametrize("operation", ["claim", "lease"])
async def test_one_process_wins(shared_store: Store, in_processes: InProcesses, operation: str) -> None:
    """Of fifteen tasks in three processes."""
    await stored_request(shared_store, RequestStatus.PENDING)
    assert sorted(in_processes(operation)) == [False] * 14 + [True]


async def test_one_process_replaces_a_version(shared_store: Store, in_processes: InProcesses) -> None:
    """Compare-and-swap holds between processes."""
    grant = await shared_store.save_grant(a_grant())
    assert grant is not None
    assert sorted(in_processes("replace_grant", (str(grant.version),) * 3)) == [False] * 14 + [True]


async def test_every_process_saves_a_login(shared_store: Store, in_processes: InProcesses) -> None:
    """Fifteen logins at once for one key are all accepted; one of them is there afterwards."""
    assert in_processes("save_grant") == [True] * 15
    grant = await shared_store.load_grant(KEY)
    assert grant is not None
    assert grant.tokens.access_token.get_secret_value() in {"a", "b", "c"}


async def test_processes_count_together(shared_store: Store, in_processes: InProcesses) -> None:
    """Every number is given once."""
    assert sorted(in_processes("count")) == list(range(1, 16))
    assert await shared_store.counted(("step-up", "x"), now=NOW) == 15
