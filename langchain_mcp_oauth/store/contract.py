"""What the library asks of a store. These docstrings are the specification; `tests/store/` holds every implementation to them.

A store keeps nine kinds of rows: grants, revocations, authorization requests, client registrations, users' own credentials, tool listings,
pinned tools, leases and small counters. It decides nothing: it applies transitions atomically and says who won. It reads no clock; `now`
(aware UTC) comes in. Every method is atomic, may be called from any event loop, and either happens whole or raises `StoreError` having
changed nothing.

Secrets (`SecretStr`) are sealed at rest; the values come back as they went in. `state` can be looked up but not read in the database.

Raises, for every method: `StoreUnavailable` (cannot be reached, locked, full, read-only; retryable), `StoreKeyError` (sealed with a
key that is not configured), `StoreCorruptError` (a sealed value is not its row's), `StoreVersionError`. None of them deletes anything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from pydantic import SecretStr

from langchain_mcp_oauth.models import (
    AuthorizationRequest,
    ClientRegistration,
    Credentials,
    Grant,
    GrantKey,
    Lease,
    Listing,
    RequestStatus,
)

__all__ = ["TokenStore"]


@runtime_checkable
class TokenStore(Protocol):
    """Tokens, and what it takes to get them, for many users, processes and machines."""

    # Grants -----------------------------------------------------------------------------------------------------------------

    async def load_grant(self, key: GrantKey) -> Grant | None:
        """The grant of exactly this key, or None. Expired tokens are returned too: expiry is the caller's to judge."""
        ...

    async def save_grant(self, grant: Grant, *, replaces: int | None = None, lease: Lease | None = None) -> Grant | None:
        """Insert or replace the grant of `grant.key`, giving it a new `version`; return it as stored.

        With `replaces`, only if the stored grant has exactly that version (compare-and-swap); otherwise nothing changes and None is
        returned: somebody logged in, refreshed or disconnected meanwhile. Without it, unconditionally: a new login wins, and this key's
        tool listing, which was another login's, is deleted with the old one. `lease` is given back with it, as by `release_lease`, also
        where nothing is saved.
        """
        ...

    async def mark_accepted(self, key: GrantKey, version: int, *, now: datetime) -> None:
        """Set `accepted`, and `used_at` to `now`, on the grant if it still has this version, which stays. Otherwise do nothing."""
        ...

    async def delete_grant(self, key: GrantKey, version: int) -> bool:
        """Delete the grant if it still has this version. True if this call deleted it."""
        ...

    async def list_grants(self, user_id: str) -> Sequence[Grant]:
        """All grants of one user, ordered by server name."""
        ...

    async def disconnect(self, key: GrantKey, *, now: datetime) -> Grant | None:
        """In one transaction: delete the grant, the credentials and the tool listing of this key, and make every open request of it
        `superseded`. Return the deleted grant.

        If its issuer can revoke (`revocation_endpoint`), the grant goes to the revocations: the caller has a minute for it, then it is
        anybody's (`claim_revocations`).
        """
        ...

    # Revocations --------------------------------------------------------------------------------------------------------------

    async def claim_revocations(self, *, now: datetime, until: datetime) -> Sequence[Grant]:
        """Disconnected grants whose issuer is still to be told, for the process that calls: nobody else gets them until `until`. No more
        than 100 at once. Those that no configured key opens are left out, and nobody is told so: they are no reason to keep a person from
        logging in."""
        ...

    async def end_revocation(self, grant: Grant) -> None:
        """The issuer has been told: forget this grant."""
        ...

    # Authorization requests -------------------------------------------------------------------------------------------------

    async def find_open_request(self, key: GrantKey, *, now: datetime) -> AuthorizationRequest | None:
        """The request of this key that is `pending` and not expired, or None. There is never more than one."""
        ...

    async def open_request(self, request: AuthorizationRequest, *, now: datetime) -> AuthorizationRequest:
        """Join or open, in one transaction; return the request that is now open.

        A pending, unexpired request of the same key is returned unchanged when it has the same `issuer`, `redirect_uri` and
        `client.client_id` and asks for every scope that `request` asks for. Otherwise it becomes `superseded` and `request` is
        stored. Called from many tasks and processes at once, all get the same request. A request that is `redeeming` is left alone
        (its answer may still be on the way) until `request` itself reaches `grant_request`.
        """
        ...

    async def load_request(self, auth_id: str) -> AuthorizationRequest | None:
        """The request with this handle, in whatever status, or None."""
        ...

    async def load_request_by_state(self, state: SecretStr) -> AuthorizationRequest | None:
        """The request with this OAuth `state`, in whatever status, or None. Found by hash; the state is not stored in clear."""
        ...

    async def claim_request(self, auth_id: str, *, now: datetime, until: datetime) -> bool:
        """`pending → redeeming` for the process that calls, until `until`. True if this call won.

        Also true for a request already `redeeming` whose `redeeming_until` is not after `now`: its holder died. Never true for a
        pending request that has expired.
        """
        ...

    async def grant_request(self, auth_id: str, grant: Grant) -> Grant | None:
        """In one transaction: `redeeming → granted`, and save `grant` as a new login. None, and nothing saved, if the request is not
        `redeeming` any more (the user disconnected, or a later holder finished it)."""
        ...

    async def close_request(self, auth_id: str, status: RequestStatus) -> bool:
        """Move the request to a final `status` if `TRANSITIONS` allows it from the stored one. True if this call did it."""
        ...

    # Clients ----------------------------------------------------------------------------------------------------------------

    async def load_client(self, issuer: str, redirect_uri: str, url: str) -> ClientRegistration | None:
        """The dynamic registration made at this issuer with this redirect URI for this MCP URL, or None."""
        ...

    async def save_client(self, client: ClientRegistration, url: str) -> None:
        """Insert or replace the registration of (`client.issuer`, `client.redirect_uri`, `url`)."""
        ...

    async def delete_client(self, client: ClientRegistration, url: str) -> bool:
        """Delete that registration if it still has this `client_id`; a newer one stays. True if this call deleted it."""
        ...

    # Tool listings ------------------------------------------------------------------------------------------------------------

    async def save_listings(self, listings: Collection[Listing], documents: Mapping[str, str]) -> None:
        """In one transaction: insert or replace these listings, of different keys, and keep the documents that their digests name. Equal
        digests are one document. Listings can be had again: a store may let them be lost with the machine."""
        ...

    async def load_listings(self, user_ids: Collection[str]) -> Sequence[Listing]:
        """The listings of these users, at every server, ordered by user and server; of exactly these ids, one of which may be empty."""
        ...

    async def load_documents(self, digests: Collection[str]) -> Mapping[str, str]:
        """The documents of these digests; those that are not there are left out."""
        ...

    async def outdate_listing(self, key: GrantKey, *, now: datetime) -> None:
        """Make the listing of this key, if there is one, fresh no longer than until `now`."""
        ...

    # Credentials ------------------------------------------------------------------------------------------------------------

    async def load_credentials(self, key: GrantKey) -> Credentials | None:
        """The values that this user has given for this server, or None."""
        ...

    async def save_credentials(self, key: GrantKey, values: Mapping[str, SecretStr]) -> Credentials:
        """In one transaction: keep these in the place of those of the same names, and forget the tool listing, which may be another's now.
        Return all values, with a new `version`."""
        ...

    # Pinned tools -----------------------------------------------------------------------------------------------------------

    async def pin_tools(self, key: GrantKey, fingerprints: Mapping[str, str]) -> Mapping[str, str]:
        """Remember, in one transaction, the fingerprints of tools that this key has none for yet; return all that are remembered.

        Those that are remembered are never changed here. Of one key no more than 5,000 are: what is beyond is missing from the result.
        """
        ...

    async def repin_tools(self, key: GrantKey, fingerprints: Mapping[str, str] | None) -> None:
        """Remember these fingerprints in the place of those there are for the same tools; None: forget all of this key."""
        ...

    # Leases -----------------------------------------------------------------------------------------------------------------

    async def acquire_lease(self, name: tuple[str, ...], *, now: datetime, duration: timedelta) -> Lease | None:
        """The lease on `name`, if nobody holds one that ends after `now`; else None. Never waits."""
        ...

    async def lease_grant(self, key: GrantKey, version: int, *, now: datetime, duration: timedelta) -> tuple[Grant | None, Lease | None]:
        """In one transaction: `acquire_lease` of `("refresh", key.user_id, key.server, key.url)`, and then `load_grant`.

        Without a lease if somebody else holds it, or if the grant is not there or not of this version any more: then nobody needs it.
        """
        ...

    async def release_lease(self, lease: Lease) -> None:
        """Give it back early, if `lease.holder` still holds it; otherwise do nothing."""
        ...

    # Counters ---------------------------------------------------------------------------------------------------------------

    async def count(self, name: tuple[str, ...], *, now: datetime, window: timedelta) -> int:
        """Add one to the counter `name` and return it. A counter that is older than its window starts again at one; counting does
        not extend the window."""
        ...

    async def counted(self, name: tuple[str, ...], *, now: datetime) -> int:
        """What the counter stands at; 0 if it was never counted or its window is over."""
        ...

    # Housekeeping -----------------------------------------------------------------------------------------------------------

    async def purge(self, *, now: datetime) -> int:
        """Delete what can have no further use: requests that ended or expired a day or more ago, revocations that nobody could make for
        30 days, lapsed leases and counters, documents that no listing names. Return how many rows. Idempotent, and safe while others
        work."""
        ...

    async def aclose(self) -> None:
        """Close what this store opened itself; an engine that was lent to it stays open."""
        ...
