"""What survives a restart: the contract and its SQLModel implementation."""

from langchain_mcp_oauth.store._database import default_database, upgrade
from langchain_mcp_oauth.store.contract import TokenStore
from langchain_mcp_oauth.store.sqlmodel import SQLModelTokenStore

__all__ = ["SQLModelTokenStore", "TokenStore", "default_database", "upgrade"]
