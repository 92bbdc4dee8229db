"""Calls to MCP servers as a user, without any LangChain.

- `service`: the store, the authorizer and the connections put together
- `catalogue`: what servers last listed; `pinning`: what they listed first
- `credentials`: what users supply themselves
- `private_hosts`: what may be contacted on this machine
- `breaker`: a server that fails again and again is left alone
- `loops`: event loops, and one of the library's own
"""
