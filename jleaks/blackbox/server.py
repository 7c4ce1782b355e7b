"""A black box behind HTTP: the other side of `jleaks.blackbox.about`, on Starlette and uvicorn.

For experiments and tests: one model, one request answered at a time, no accounts, no encryption.
"""

import asyncio
import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from jleaks.blackbox.about import ABOUT, HEALTH, POSTERIORS, About, check_records
from jleaks.blackbox.box import BlackBox, check_answer
from jleaks.errors import InputError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response

# Characters that one number may take in a request, with what separates it from the next.
_BYTES_PER_NUMBER = 32
# Connections at once, and seconds that one may be open without a whole request.
_MOST_CONNECTIONS, _IDLE = 100, 30.0
# Seconds that requests in flight have to end in once the server shall stop.
_GRACE = 30
_POLL = 0.01
_LOG = logging.getLogger(__name__)


class _Refusal(Exception):  # noqa: N818 - an answer to the client, not a failure
    """A request that cannot be answered."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def make_app(box: BlackBox, about: About) -> "Starlette":
    """Returns an ASGI application that answers for a black box.

    Args:
      box: Asked in one thread at a time; each answer is checked.
      about: What it says of itself; requests are checked against it.

    Raises:
      InputError: Starlette is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.concurrency import run_in_threadpool
        from starlette.exceptions import HTTPException
        from starlette.requests import ClientDisconnect
        from starlette.responses import JSONResponse, Response
        from starlette.routing import Route
    except ImportError as error:
        raise _not_installed(error) from error

    turn = threading.Lock()
    most_bytes = about.most_records * (int(np.prod(about.shape)) + 1) * _BYTES_PER_NUMBER + 1024

    def answer(body: bytes) -> dict[str, Any]:
        records = _read_records(body, about)
        with turn:
            found = box.answer(records)
        found = check_answer(found, len(records), about.num_classes, "the model")
        return {"posteriors": found.tolist()}

    async def post(request: "Request") -> "Response":
        body = bytearray()
        try:
            async with asyncio.timeout(_IDLE):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > most_bytes:
                        raise _Refusal(
                            413, f"the request has more than {most_bytes} bytes, the most that "
                            f"{about.most_records} records can take"
                        )  # fmt: skip
        except TimeoutError as error:
            raise _Refusal(408, f"no whole request within {_IDLE:g} s") from error
        except ClientDisconnect:
            _LOG.warning("a client hung up after %d bytes of its request", len(body))
            return Response(status_code=400)
        try:
            # Numbers are read and the model runs beside the event loop, which stays responsive.
            return JSONResponse(await run_in_threadpool(answer, bytes(body)))
        except InputError as error:
            raise _Refusal(500, str(error)) from error

    async def say_about(_: "Request") -> "JSONResponse":
        return JSONResponse(about.as_dict())

    async def say_healthy(_: "Request") -> "JSONResponse":
        return JSONResponse({"status": "ok"})

    async def refuse(_: "Request", error: Exception) -> "JSONResponse":
        if isinstance(error, _Refusal):
            return JSONResponse({"error": str(error)}, error.status)
        if isinstance(error, HTTPException):
            return JSONResponse({"error": error.detail}, error.status_code, error.headers)
        # Starlette raises it again once this is sent: the server's log gets the traceback.
        return JSONResponse({"error": "the model failed"}, 500)

    return Starlette(
        routes=[
            Route(ABOUT, say_about),
            Route(POSTERIORS, post, methods=["POST"]),
            Route(HEALTH, say_healthy),
        ],
        exception_handlers={_Refusal: refuse, HTTPException: refuse, Exception: refuse},
    )


def _read_records(body: bytes, about: About) -> np.ndarray:
    """Reads the records of a request.

    Raises:
      _Refusal: there are none, too many, or one cannot be asked about.
    """

    def refuse_constant(name: str) -> None:
        raise ValueError(f"{name} is not a number")

    try:
        value = json.loads(body, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _Refusal(400, f"the request is not JSON: {error}") from error
    if not isinstance(value, dict) or not isinstance(value.get("records"), list):
        raise _Refusal(400, 'the request has no list "records"')
    records = value["records"]
    if len(records) > about.most_records:
        raise _Refusal(413, f"{len(records)} records, expected at most {about.most_records}")
    try:
        return check_records(records, about)
    except InputError as error:
        raise _Refusal(400, str(error)) from error


@contextlib.contextmanager
def serving(app: Any, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serves an ASGI application from a thread of this process while the context is open.

    On leaving, requests in flight are answered first.

    Args:
      app: The application.
      host: Name or address to listen on.
      port: 0 for any that is free.

    Yields:
      The address, such as http://127.0.0.1:40123.

    Raises:
      InputError: the address cannot be listened on, or uvicorn is not installed.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise _not_installed(error) from error
    if not 0 <= port <= 65_535:
        raise InputError(f"port is {port}, expected 0 to 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise InputError(f"cannot listen on {host}:{port}: {error}") from error
    with listener:
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", loop="asyncio",
            timeout_graceful_shutdown=_GRACE, http=_bounded(),
        )  # fmt: skip
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="server", daemon=True)
        thread.start()
        try:
            while not server.started:
                if not thread.is_alive():
                    raise RuntimeError("the server ended before it had started")
                time.sleep(_POLL)
            name = f"[{host}]" if family == socket.AF_INET6 else host
            yield f"http://{name}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def _bounded() -> Any:
    """Returns uvicorn's protocol with an end to how many connections there are, and how long they idle."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Bounded(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._seen: Any = None
            if len(self.connections) > _MOST_CONNECTIONS:
                transport.abort()
            else:
                self._look_later()

        def _look_later(self) -> None:
            self.loop.call_later(_IDLE, self._look)

        def _look(self) -> None:
            # A request that came since the last look, or is being answered, is no idling.
            busy = self.cycle is not None and not self.cycle.response_complete
            if self.transport.is_closing():
                return
            if not busy and self.cycle is self._seen:
                self.transport.abort()
                return
            self._seen = self.cycle
            self._look_later()

    return Bounded


def _not_installed(error: ImportError) -> InputError:
    return InputError(f"serving needs starlette and uvicorn: pip install 'jleaks[serve]' ({error})")
