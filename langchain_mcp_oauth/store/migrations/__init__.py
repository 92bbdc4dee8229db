"""The revisions of the tables. Alembic runs them; see `schema.py`."""
