"""Answers of endpoints on disk: whatever was paid for once is never asked again.

SQLite, from the standard library: each batch is one transaction, so a process killed at any moment loses
at most the batch in flight; an answer is found by its key without reading the others; and several
processes can share one file (on a local disk: its write-ahead log wants shared memory).  Transactions
are flushed to disk (`synchronous=FULL`): beside a request over a network that costs nothing.

A record's key is the SHA-256 of its type, shape and bytes (of its JSON, if it is no array), and an answer
belongs to one endpoint identity (see `jleaks.blackbox.client`).  Answers are kept as they came, whether or
not they can be used; what cannot even be read is kept whole, by its request.  Beside the answers the file
keeps how many records each endpoint was sent: a budget holds over all runs.
"""

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

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
# Not in the files of former versions, to which it is added.
_UNREAD = """
CREATE TABLE IF NOT EXISTS unread (
    endpoint TEXT NOT NULL, request BLOB NOT NULL, body BLOB NOT NULL, PRIMARY KEY (endpoint, request)
) WITHOUT ROWID
"""


def record_key(record: Any) -> bytes:
    """Returns the SHA-256 of a record: an array's type, shape and bytes, or a value's JSON."""
    if not isinstance(record, (np.ndarray, np.generic)):
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).digest()
    digest = hashlib.sha256(f"{record.dtype.str}{record.shape}".encode())
    digest.update(np.ascontiguousarray(record).data)
    return digest.digest()


def _request_key(request: bytes) -> bytes:
    return hashlib.sha256(request).digest()


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
            self._db.execute(_UNREAD)

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

    def get(self, endpoint: str, keys: Sequence[bytes]) -> dict[bytes, Float[np.ndarray, "w"]]:
        """Returns what was answered about the records that are known, by key, as it came.

        Args:
          endpoint: Identity of who answered.
          keys: Of the records.

        Raises:
          InputError: the file cannot be read, or an answer in it is damaged.
        """
        found = {}
        query = "SELECT posterior FROM answers WHERE endpoint = ? AND record = ?"
        with self._clear_errors():
            for key in keys:
                row = self._db.execute(query, (endpoint, key)).fetchone()
                if row is None:
                    continue
                if not isinstance(row[0], bytes) or not row[0] or len(row[0]) % 4:
                    raise InputError(
                        f"{self._path} has an answer that is no float32; it is damaged"
                    )
                found[key] = np.frombuffer(row[0], "<f4").astype(np.float32)
        return found

    def put(
        self,
        endpoint: str,
        keys: Sequence[bytes],
        numbers: Float[np.ndarray, "batch w"],
        replace: bool = False,
    ) -> None:
        """Adds the answers of one batch, all or none of them; returns once they are on disk.

        Args:
          endpoint: Identity of who answered.
          keys: Of the records.
          numbers: What was answered about each.
          replace: Whether they take the place of those that are there.
        """
        rows = [
            (endpoint, key, row.astype("<f4").tobytes())
            for key, row in zip(keys, numbers, strict=True)
        ]
        insert = "INSERT OR REPLACE" if replace else "INSERT OR IGNORE"
        with self._clear_errors(), self._transaction():
            self._db.executemany(f"{insert} INTO answers VALUES (?, ?, ?)", rows)

    def unread(self, endpoint: str, request: bytes) -> bytes | None:
        """Returns the body of an answer that could not be read; None if there is none."""
        query = "SELECT body FROM unread WHERE endpoint = ? AND request = ?"
        with self._clear_errors():
            row = self._db.execute(query, (endpoint, _request_key(request))).fetchone()
        return None if row is None else bytes(row[0])

    def keep_unread(self, endpoint: str, request: bytes, body: bytes) -> None:
        """Keeps the body of an answer that could not be read, by its request."""
        with self._clear_errors(), self._transaction():
            row = endpoint, _request_key(request), body
            self._db.execute("INSERT OR REPLACE INTO unread VALUES (?, ?, ?)", row)

    def drop_unread(self, endpoint: str, request: bytes) -> None:
        """Forgets such a body, which could be read after all."""
        with self._clear_errors(), self._transaction():
            query = "DELETE FROM unread WHERE endpoint = ? AND request = ?"
            self._db.execute(query, (endpoint, _request_key(request)))

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
