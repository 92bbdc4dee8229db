"""MCP tools as LangChain tools.

- `tool`: one tool
- `listing`: which tools a user has, over all servers
- `names`, `schemas`: made fit for models and providers (`langchain_mcp_oauth.profiles` has each provider's rules)
- `content`: results as content blocks
"""
