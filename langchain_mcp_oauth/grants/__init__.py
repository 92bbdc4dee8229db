"""Grants that need no browser, each a value for `MCPServer(grant=...)`.

- `contract`: what such a value is
- `client_credentials`: the application itself                      RFC 6749 §4.4, SEP-1046
- `enterprise`: the user's sign-in at the company, exchanged        RFC 8693, RFC 7523, SEP-990
- `workload`: an assertion of the platform the program runs on      RFC 7523, SEP-1933
- `provided`: tokens that the application has from elsewhere
"""
