"""What survives a restart: the contract and its SQLModel implementation, which is imported, with SQLAlchemy, when it is first used."""

from typing import TYPE_CHECKING, Any

from langchain_mcp_oauth.store.contract import TokenStore

if TYPE_CHECKING:
    from langchain_mcp_oauth.store._database import default_database, upgrade
    from langchain_mcp_oauth.store.sqlmodel import SQLModelTokenStore

__all__ = ["SQLModelTokenStore", "TokenStore", "default_database", "upgrade"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{'sqlmodel' if name == 'SQLModelTokenStore' else '_database'}"), name)
