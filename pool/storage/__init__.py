"""The durable `SessionStore`: one writer that commits in batches, to a file or to a database server.

From the outside in: `durable` (the store), `writer` (its inbox), then for SQLite `ledger` (the file, or memory while
the disk fails), `backlog` (what the file has yet to see) and `database` (transactions), and for PostgreSQL
`postgres_ledger` (the server, or waiting for it), `postgres` (transactions) and `postgres_server` (its errors). `lease`
and `postgres_lease` say which of several bots writes there. Both kinds share `operations` (what is written and read,
now or later), `tables` and `steps` (how a database gets them). `reading` and `postgres_reading` look at the state of
another process, and `move` copies one into another.
"""
