"""The job history: SQLite through SQLAlchemy 2. The only place with SQL."""
