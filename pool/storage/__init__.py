"""The durable `SessionStore`: one SQLite file, one writer that commits in batches, memory while the disk fails.

From the outside in: `durable` (the store and its writer), `ledger` (file or memory), `backlog` (what the file has yet
to see), `database` (transactions, and all that only SQLite has), `operations` (what is written and read, now or later),
and `tables` (and how a file gets them). `reading` looks at the file of another process.
"""
