"""The durable `SessionStore`: one SQLite file, one writer that commits in batches, memory while the disk fails.

From the outside in: `durable` (the store), `writer` (the inbox and its batches), `ledger` (file or memory), `database`
(transactions), `operations` (what is written and read), `tables`, `migrations` and `sqlite` (all that only SQLite has).
"""
