"""The revisions, found by Alembic by their file names."""
