"""Transactions in SQLite."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Make several changes atomic, of a connection in autocommit mode: all of them are committed, or none.

    It takes the write lock at once. Raises sqlite3.Error.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # Trap: a full disk may have ended the transaction already.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
