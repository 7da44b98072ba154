"""How a database of an earlier version becomes one of this version: one revision for each schema version, in order.

To change the schema: raise VERSION in storage/schema.py, add ``versions/vNNNN_what.py`` with ``revision`` and
``down_revision`` of four digits and an ``upgrade()`` that uses Alembic's ``op``, and put a dump of a database of the
new version into tests/data/schemas. A revision is frozen once it is released, so it holds its SQL itself and imports
nothing of ours. Views are none of its concern: all are dropped before the first revision and made again after the
last. It may not commit. Foreign keys are checked once, after the last revision, so tables can be rebuilt.
"""
