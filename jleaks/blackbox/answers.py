"""Answers of endpoints on disk: whatever was paid for once is never asked again.

SQLite, from the standard library: each batch is one transaction, so a process killed at any moment loses
at most the batch in flight; an answer is found by its key without reading the others; and several
processes can share one file (on a local disk: its write-ahead log wants shared memory).  Transactions
are flushed to disk (`synchronous=FULL`): beside a request over a network that costs nothing.

A record's key is the SHA-256 of its type, shape and bytes, and an answer belongs to one endpoint identity
(see `jleaks.blackbox.client`).  Beside the answers the file keeps how many records each endpoint was sent:
a budget holds over all runs.
"""

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Num

from jleaks.errors import InputError

# Marks the file as one of ours, and its layout.
_APPLICATION = 0x6A6C6B73
_VERSION = 1
_LAYOUT = """
CREATE TABLE answers (
    endpoint TEXT NOT NULL, record BLOB NOT NULL, posterior BLOB NOT NULL,
    PRIMARY KEY (endpoint, record)
) WITHOUT ROWID;
CREATE TABLE sent (endpoint TEXT PRIMARY KEY, records INTEGER NOT NULL) WITHOUT ROWID;
"""


def record_key(record: Num[np.ndarray, "..."]) -> bytes:
    """Returns the SHA-256 of a record's type, shape and bytes."""
    digest = hashlib.sha256(f"{record.dtype.str}{record.shape}".encode())
    digest.update(np.ascontiguousarray(record).data)
    return digest.digest()


class Answers:
    """The answers of any number of endpoints in one file; used in the thread that opened it."""

    def __init__(self, path: str | os.PathLike[str] | None = None):
        """Opens the file, creating it if need be.

        Args:
          path: Of the file; None keeps the answers in memory.

        Raises:
          InputError: the file cannot be written, or holds something else.
        """
        self._path = ":memory:" if path is None else str(path)
        with self._clear_errors():
            if path is not None:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            # Waits for other processes for so many seconds; transactions are begun explicitly.
            self._db = sqlite3.connect(self._path, timeout=60.0, isolation_level=None)
        try:
            with self._clear_errors():
                self._lay_out()
        except InputError:
            self._db.close()
            raise

    def _lay_out(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        with self._transaction():
            (application,) = self._db.execute("PRAGMA application_id").fetchone()
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not tables:
                for statement in _LAYOUT.split(";")[:-1]:
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA application_id={_APPLICATION}")
                self._db.execute(f"PRAGMA user_version={_VERSION}")
            elif (application, version) != (_APPLICATION, _VERSION):
                raise InputError(f"{self._path} is a database, but not one of answers")

    @contextlib.contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise InputError(f"cannot keep answers in {self._path}: {error}") from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        # IMMEDIATE: what is read inside is not changed by others before it is written.
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def get(
        self, endpoint: str, keys: Sequence[bytes], num_classes: int
    ) -> dict[bytes, Float[np.ndarray, "k"]]:
        """Returns the posteriors that are known, by key.

        Args:
          endpoint: Identity of who answered.
          keys: Of the records.
          num_classes: K.

        Raises:
          InputError: the file cannot be read, or a posterior in it has another length.
        """
        found = {}
        query = "SELECT posterior FROM answers WHERE endpoint = ? AND record = ?"
        with self._clear_errors():
            for key in keys:
                row = self._db.execute(query, (endpoint, key)).fetchone()
                if row is not None:
                    found[key] = np.frombuffer(row[0], "<f4").astype(np.float32)
                    if len(found[key]) != num_classes:
                        raise InputError(
                            f"{self._path} has an answer of {len(found[key])} posteriors, expected "
                            f"{num_classes}; it is damaged"
                        )
        return found

    def put(
        self, endpoint: str, keys: Sequence[bytes], posteriors: Float[np.ndarray, "batch k"]
    ) -> None:
        """Adds the answers of one batch, all or none of them; returns once they are on disk."""
        rows = [
            (endpoint, key, row.astype("<f4").tobytes())
            for key, row in zip(keys, posteriors, strict=True)
        ]
        with self._clear_errors(), self._transaction():
            self._db.executemany(
                "INSERT INTO answers VALUES (?, ?, ?) ON CONFLICT DO NOTHING", rows
            )

    def sent(self, endpoint: str) -> int:
        """Returns how many records an endpoint was sent, by all runs."""
        with self._clear_errors():
            query = "SELECT records FROM sent WHERE endpoint = ?"
            row = self._db.execute(query, (endpoint,)).fetchone()
        return 0 if row is None else row[0]

    def count(self, endpoint: str, num_records: int, budget: int | None) -> bool:
        """Counts records as sent, unless that would exceed a budget.

        Args:
          endpoint: Identity of who is asked.
          num_records: To add; negative for those that certainly were not answered.
          budget: What the sum may not exceed; None for no limit.

        Returns:
          Whether they were counted.
        """
        with self._clear_errors(), self._transaction():
            total = self.sent(endpoint) + num_records
            if budget is not None and total > budget:
                return False
            self._db.execute("INSERT OR REPLACE INTO sent VALUES (?, ?)", (endpoint, total))
        return True

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
