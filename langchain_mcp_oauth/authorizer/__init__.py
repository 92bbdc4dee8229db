"""Logins: a usable token for this user at this server, or a URL for a person. Knows nothing of LangChain or MCP sessions.

- `authorizer`: the one that is asked
- `refreshing`: a token renewed, once for everybody
- `obtaining`: a token got without a person
- `authorizing`: a person's authorization, asked for and redeemed; `devices`: on a device that has no browser
- `status`: where a login stands
- `single_flight`, `leases`: one at a time, in one process and over all
- `grant_cache`: what this process has read lately
- `world`: what they share: store, clock, randomness, HTTP
"""
