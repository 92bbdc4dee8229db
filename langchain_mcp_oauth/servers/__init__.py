"""What a user of the library configures.

- `remote`: a server that is reached over HTTP, guarded by OAuth, by keys or by nothing
- `programs`: a server that is a program on the same machine
- `configured`: what both share: how mistakes are told, placeholders
"""
