"""The job history: SQLite through SQLAlchemy 2. The only place with SQL. Knows nothing of the daemon.

`storage.jobs.JobStore` is the one writer, `storage.reading.JobReader` reads beside it; both speak in the records of
`storage.records` and raise the errors of `storage.errors`. Nothing is imported here: the records alone cost no SQL.
"""
