"""Everything that leaves the process: one guarded httpx2 client, and `drive`, which does the IO of a `Flow`.

- `guard`: which addresses may be contacted, on httpcore2's network backend
- `pool`: connections whose cost does not grow with the number of idle ones
- `client`: the httpx2 transport over both, and the client
- `reaching`: whether a server answers at all
- `driving`: a conversation's requests and answers, under one deadline
"""

from langchain_mcp_oauth.http.client import GuardedTransport, check_proxy, guarded_client, user_agent
from langchain_mcp_oauth.http.driving import connection_failed, drive, is_certificate_error, place_of, read_body
from langchain_mcp_oauth.http.guard import Resolver, host_port, resolve
from langchain_mcp_oauth.http.reaching import Reach

__all__ = [
    "GuardedTransport",
    "Reach",
    "Resolver",
    "check_proxy",
    "connection_failed",
    "drive",
    "guarded_client",
    "host_port",
    "is_certificate_error",
    "place_of",
    "read_body",
    "resolve",
    "user_agent",
]
