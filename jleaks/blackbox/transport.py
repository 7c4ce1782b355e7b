"""One request and its answer over HTTP, bounded in bytes and in seconds whatever the other side does.

The standard library's connections carry it.  A watcher beside each request cuts the connection when the
answer is late as a whole, be it that it drips, or when the run was told to stop.  Answers are read, and
inflated, up to a given size and no further.  No redirect is followed: the token of one host is not
another's.
"""

import contextlib
import http.client
import select
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from jleaks.blackbox.address import Address, plain
from jleaks.blackbox.pace import Clock, Limits, wait_seconds
from jleaks.errors import InputError

# Seconds between two looks of a watcher.
_LOOK = 0.05
# Seconds that an answer in flight still has once the run was told to stop: it may be paid for.
_GRACE = 5.0
_CHUNK = 1 << 16


class EndpointError(RuntimeError):
    """The endpoint could not be reached, or kept failing; all answers so far are kept."""


class PassingError(Exception):
    """One attempt failed in a way that may pass."""

    def __init__(
        self,
        reason: str,
        asked_for: float | None = None,
        is_unanswered: bool = False,
        most_repeats: int | None = None,
    ):
        """Takes what happened.

        Args:
          reason: In words.
          asked_for: Seconds that the endpoint asks to wait.
          is_unanswered: Whether it certainly did not answer, so that nothing was paid.
          most_repeats: How often it is worth asking again; None for as often as the limits say.
        """
        super().__init__(reason)
        self.asked_for, self.is_unanswered, self.most_repeats = (
            asked_for,
            is_unanswered,
            most_repeats,
        )


class Response(NamedTuple):
    """What came back.

    Attributes:
      status: Of HTTP.
      headers: By name, in small letters.
      data: The whole body, inflated.
    """

    status: int
    headers: dict[str, str]
    data: bytes


class Transport:
    """Connections to one endpoint, one request at a time."""

    def __init__(
        self,
        address: Address,
        headers: Mapping[str, str],
        connect_timeout: float,
        read_timeout: float,
        answer_timeout: float,
        is_stopped: Callable[[], bool] = lambda: False,
    ):
        """Opens nothing yet.

        Args:
          address: Of the endpoint.
          headers: Sent with each request.
          connect_timeout: Seconds until a connection must stand.
          read_timeout: Seconds of silence.
          answer_timeout: Seconds that a whole answer may take.
          is_stopped: Looked at while an answer is waited for: whether to give it up.

        Raises:
          InputError: a header cannot be sent.
        """
        self._address = address
        # Not what inflates: how large an answer is, is seen before it is held.
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "jleaks", **headers}
        for name, value in self._headers.items():
            if not (f"{name}{value}".isascii() and f"{name}{value}".isprintable()):
                raise InputError(f"the header {plain(name)} is not printable ASCII in one line")
        if address.authorization and "authorization" not in map(str.lower, self._headers):
            self._headers["Authorization"] = address.authorization
        self._connect_timeout, self._read_timeout = connect_timeout, read_timeout
        self._answer_timeout, self._is_stopped = answer_timeout, is_stopped
        self._connection: http.client.HTTPConnection | None = None

    def send(self, method: str, path: str, body: bytes | None, most_bytes: int) -> Response:
        """Sends one request once.

        Args:
          method: Of HTTP.
          path: That follows the endpoint's own.
          body: JSON; None for none.
          most_bytes: Of the answer, as it came and inflated.

        Raises:
          PassingError: it failed in a way that may pass.
          EndpointError: it failed in a way that will not (certificates).
          InputError: the answer is larger than it may be, or encoded in a way nobody asked for.
        """
        connection = self._connected()
        ended: list[str] = []
        try:
            with self._watched(connection, ended):
                # A server may refuse what it has not read to the end: its answer is there all the same.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.request(method, self._address.target(path), body, self._headers)
                with connection.getresponse() as response:
                    data = self._read(response, most_bytes)
            if ended:
                # A body without a length ends where the connection was cut.
                raise PassingError(ended[0])
        except (InputError, PassingError) as error:
            self.close()
            if ended:
                raise PassingError(ended[0]) from error
            raise
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if ended:
                raise PassingError(ended[0]) from error
            if isinstance(error, TimeoutError):
                said = f"it was silent for {self._read_timeout:g} s"
            else:
                said = plain(str(error)) or type(error).__name__
            raise PassingError(said) from error
        if response.will_close:
            self.close()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Response(response.status, headers, data)

    def _connected(self) -> http.client.HTTPConnection:
        """Returns a connection that stands: the last one, unless the other side has let go of it."""
        if self._connection is not None and self._connection.sock is not None:
            # Bytes that nobody asked for are the end of the connection.
            if not select.select([self._connection.sock], [], [], 0)[0]:
                return self._connection
            self.close()
        host, port = self._address.host, self._address.port
        made: http.client.HTTPConnection
        if self._address.scheme == "https":
            made = http.client.HTTPSConnection(
                host, port, timeout=self._connect_timeout, context=ssl.create_default_context()
            )
        else:
            made = http.client.HTTPConnection(host, port, timeout=self._connect_timeout)
        try:
            made.connect()
        except ssl.SSLCertVerificationError as error:
            raise EndpointError(f"{self._address.shown}: {plain(str(error))}") from error
        except TimeoutError as error:
            said = f"no connection within {self._connect_timeout:g} s"
            raise PassingError(said, is_unanswered=True) from error
        except OSError as error:
            raise PassingError(plain(str(error)), is_unanswered=True) from error
        made.sock.settimeout(self._read_timeout)
        self._connection = made
        return made

    @contextlib.contextmanager
    def _watched(self, connection: http.client.HTTPConnection, ended: list[str]) -> Iterator[None]:
        """Cuts a connection whose answer is late, or no longer wanted; says why in `ended`."""
        done, until, own = (
            threading.Event(),
            time.monotonic() + self._answer_timeout,
            connection.sock,
        )

        def watch() -> None:
            end, why = until, f"no whole answer within {self._answer_timeout:g} s"
            while not done.wait(_LOOK):
                if why != "stopped" and self._is_stopped():
                    end, why = min(end, time.monotonic() + _GRACE), "stopped"
                if time.monotonic() < end:
                    continue
                ended.append(why)
                # Not the method of TLS, which is no thing for another thread.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(own, socket.SHUT_RDWR)
                return

        watcher = threading.Thread(target=watch, name="watcher", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def _read(self, response: http.client.HTTPResponse, most: int) -> bytes:
        encoding = (response.getheader("Content-Encoding") or "identity").strip().lower()
        if encoding not in ("identity", "gzip", "x-gzip", "deflate"):
            raise InputError(
                f"the answer is encoded as {plain(encoding)!r}, which nobody asked for"
            )
        # Either of the two headers that zlib knows.
        inflate = None if encoding == "identity" else zlib.decompressobj(47)
        found, arrived = bytearray(), 0
        while chunk := response.read(_CHUNK):
            arrived += len(chunk)
            if inflate is None:
                found += chunk
            while inflate is not None and chunk:
                try:
                    found += inflate.decompress(chunk, most + 1 - len(found))
                except zlib.error as error:
                    raise InputError(f"the answer is no {encoding}: {plain(str(error))}") from error
                if len(found) > most:
                    break
                chunk = inflate.unconsumed_tail
            if max(len(found), arrived) > most:
                raise InputError(
                    f"the answer is larger than the {most:,} bytes that so few records can take; "
                    "--num_classes says how many posteriors each has"
                )
        if response.length:
            raise PassingError(f"the answer was cut after {arrived} bytes")
        return bytes(found)

    def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def wait_out(
    failure: PassingError,
    failures: int,
    name: str,
    limits: Limits,
    clock: Clock,
    report: Callable[[str], None],
) -> None:
    """Waits before something is asked again.

    Args:
      failure: The last one.
      failures: How many there were.
      name: Of who is asked.
      limits: How often, and how long it may be waited.
      clock: What to wait by.
      report: Receives a sentence.

    Raises:
      EndpointError: it was asked often enough, or wants too long a wait.
    """
    most = min(
        limits.retries, limits.retries if failure.most_repeats is None else failure.most_repeats
    )
    if failures > most:
        raise EndpointError(f"{name}: {failure}; given up after {failures} attempts")
    seconds = wait_seconds(limits, clock, failures, failure.asked_for)
    if seconds > limits.longest_wait:
        raise EndpointError(
            f"{name}: {failure}; it asks to wait {seconds:.0f} s, the longest wait is "
            f"{limits.longest_wait:g} s"
        )
    report(f"{name}: {failure}; asking again in {seconds:.1f} s")
    clock.sleep(seconds)
