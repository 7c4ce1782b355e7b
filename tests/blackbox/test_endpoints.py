"""Endpoints that are not jleaks': common servers, a user's own mapping, and hostile ones."""

import contextlib
import gzip
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from jleaks.blackbox import transport
from jleaks.blackbox.address import plain, read_address, redacted
from jleaks.blackbox.answers import Answers
from jleaks.blackbox.client import endpoint, metered, read_headers
from jleaks.blackbox.pace import Limits
from jleaks.blackbox.protocol import Protocol, find_protocol
from jleaks.blackbox.transport import EndpointError
from jleaks.errors import InputError
from jleaks.training.preemption import Preempted, StopSignal

X = np.random.default_rng(0).normal(size=(25, 4)).astype(np.float32)


def model(records):
    """Posteriors of three classes."""
    x = np.asarray(records, np.float64)
    z = np.stack([x.sum(1), x[:, 0] * 2, np.cos(x).sum(1)], axis=1)
    p = np.exp(z - z.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


@contextlib.contextmanager
def server(reply):
    """Serves `reply(method, path, body, headers)` -> (status, headers, bytes or an iterator of them)."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def handle(self):
            with contextlib.suppress(OSError):
                super().handle()

        def do_GET(self):
            self._reply(None)

        def do_POST(self):
            self._reply(self.rfile.read(int(self.headers["Content-Length"])))

        def _reply(self, body):
            status, headers, found = reply(self.command, self.path, body, self.headers)
            self.send_response(status)
            whole = isinstance(found, bytes)
            for name, value in ({"Content-Length": str(len(found))} if whole else {} | {}).items():
                self.send_header(name, value)
            for name, value in headers.items():
                self.send_header(name, value)
            if not whole:
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            with contextlib.suppress(OSError):
                for part in [found] if whole else found:
                    self.wfile.write(part)
                    self.wfile.flush()

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.daemon_threads = True
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{found.server_port}"
    finally:
        found.shutdown()
        found.server_close()
        thread.join()


def said(value):
    return 200, {}, json.dumps(value).encode()


# Common servers.


def test_tensorflow_serving():
    batches = []

    def reply(method, path, body, _):
        assert (method, path) == ("POST", "/v1/models/m:predict")
        instances = json.loads(body)["instances"]
        batches.append(len(instances))
        if len(instances) > 8:
            return 413, {}, b'{"error": "batch too large"}'
        return said({"predictions": model(instances).tolist()})

    # The address of the model, or of its method.
    for ending in ("", ":predict", ":predict/"):
        with (
            server(reply) as url,
            endpoint(f"{url}/v1/models/m{ending}", protocol="tf_serving") as box,
        ):
            np.testing.assert_allclose(box.answer(X), model(X), atol=1e-6)
            assert box.num_sent == 25
    assert batches[:6] == [25, 13, 7, 7, 7, 4]


@pytest.mark.parametrize("tells", [True, False])
def test_kserve(tells):
    asked = []

    def reply(method, path, body, _):
        if method == "GET":
            assert path == "/v2/models/m"
            inputs = [{"name": "x", "datatype": "FP64", "shape": [-1, 4]}]
            outputs = [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}]
            return said({"inputs": inputs, "outputs": outputs}) if tells else (404, {}, b"")
        assert path == "/v2/models/m/infer"
        (given,) = json.loads(body)["inputs"]
        asked.append((given["name"], given["datatype"], given["shape"]))
        p = model(np.reshape(given["data"], given["shape"]))
        return said(
            {"outputs": [{"name": "y", "shape": list(p.shape), "data": p.ravel().tolist()}]}
        )

    with (
        server(reply) as url,
        endpoint(f"{url}/v2/models/m", Limits(batch=20), protocol="kserve") as box,
    ):
        assert box.source.num_classes == (3 if tells else None)
        np.testing.assert_allclose(box.answer(X), model(X), atol=1e-6)
    name = ("x", "FP64") if tells else ("input-0", "FP32")
    assert asked == [(*name, [20, 4]), (*name, [5, 4])]


def test_numbers_that_an_endpoint_does_not_take_are_refused_before_they_are_sent():
    about = {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [-1, 2]}]}
    with server(lambda *_: said(about)) as url, endpoint(url, protocol="kserve") as box:
        for records in ([[256, 0]], [[0.5, 0]], [[-1, 0]], [[np.nan, 0]]):
            with pytest.raises(InputError, match="takes UINT8, which not all numbers"):
                box.answer(np.array(records))
        with pytest.raises(InputError, match="takes UINT8, and records are <U1"):
            box.answer(np.array([["a", "b"]]))
        assert box.num_sent == 0
    with endpoint("http://127.0.0.1:1", protocol="mlflow") as box:
        with pytest.raises(InputError, match="record 1 has a number that is not finite"):
            box.answer(np.array([[0, 0], [np.inf, 0]]))
        with pytest.raises(InputError, match="nothing that JSON can hold"):
            box.answer(np.array([[0, 0], [np.nan, "a"]], object))


def test_mlflow_takes_data_frames_by_row():
    import pandas as pd

    frame = pd.DataFrame({"age": [1, 2, 3], "sex": ["f", "m", None]})

    def reply(_, path, body, __):
        assert path == "/invocations"
        rows = json.loads(body)["inputs"]
        assert set(rows[0]) == {"age", "sex"}
        return said({"predictions": [[1 / row["age"], 1 - 1 / row["age"]] for row in rows]})

    with server(reply) as url, endpoint(url, Limits(batch=2), protocol="mlflow") as box:
        np.testing.assert_allclose(box.answer(frame)[:, 0], [1, 1 / 2, 1 / 3], rtol=1e-6)
        assert box.num_sent == 3
        box.answer(frame.iloc[::-1])
        assert box.num_sent == 3


# A user's own mapping.

MAPPING = """
path = "/score"
answers = "result.items[*].p"
most_records = 10
classes = ["dog", "cat", "ant"]
[body.data]
rows = "$records"
count = "$count"
kind = "all"
"""


def named(p):
    return dict(zip(("ant", "cat", "dog"), p[::-1], strict=True))


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_a_mapping_file_says_how_an_endpoint_is_asked(tmp_path, suffix):
    import tomllib

    path = tmp_path / f"own.{suffix}"
    path.write_text(MAPPING if suffix == "toml" else json.dumps(tomllib.loads(MAPPING)))
    batches = []

    def reply(method, where, body, headers):
        assert (method, where, headers["X-API-Key"]) == ("POST", "/base/score", "k")
        data = json.loads(body)["data"]
        assert (data["kind"], data["count"]) == ("all", len(data["rows"]))
        batches.append(data["count"])
        return said({"result": {"items": [{"p": named(p)} for p in model(data["rows"]).tolist()]}})

    with (
        server(reply) as url,
        endpoint(f"{url}/base/", protocol=str(path), headers={"X-API-Key": "k"}) as box,
    ):
        assert box.source.num_classes == 3
        np.testing.assert_allclose(box.answer(X), model(X), atol=1e-6)
    assert batches == [10, 10, 5]


P = model(X[:4])
Z = np.log(P) + 3


@pytest.mark.parametrize(
    ("answer", "more", "wanted"),
    [
        (P.tolist(), {}, P),
        (P.ravel().tolist(), {}, P),
        ((100 * P).round(4).tolist(), {}, P),
        (Z.tolist(), {"form": "logits"}, P),
        ([named(p) for p in P.tolist()], {}, P[:, ::-1]),
        ([named(p) for p in P.tolist()], {"classes": ("dog", "cat", "ant")}, P),
        ([{"0": a, "1": b, "10": c} for a, b, c in P.tolist()], {}, P),
        (
            [[{"label": k, "score": v} for k, v in sorted(named(p).items())] for p in P.tolist()],
            {"classes": ("dog", "cat", "ant")},
            P,
        ),
        ([{"n": [[*p]]} for p in P.tolist()], {"answers": "[*].n[0]"}, P),
        ([[f"{100 * v:.3f}%" for v in p] for p in P.tolist()], {}, P),
        (P[:, 1].tolist(), {}, np.stack([1 - P[:, 1], P[:, 1]], 1)),
        ((100 * P[:, 1]).tolist(), {"form": "percent"}, np.stack([1 - P[:, 1], P[:, 1]], 1)),
        (
            np.log(P[:, :1] / (1 - P[:, :1])).tolist(),
            {"form": "logits"},
            np.stack([1 - P[:, 0], P[:, 0]], 1),
        ),
        (P.argmax(1).tolist(), {"form": "labels", "num_classes": 3}, np.eye(3)[P.argmax(1)]),
        (
            [("dog", "cat", "ant")[k] for k in P.argmax(1)],
            {"form": "labels", "classes": ("dog", "cat", "ant")},
            np.eye(3)[P.argmax(1)],
        ),
    ],
)
def test_answers_of_every_form(answer, more, wanted):
    protocol = Protocol({"x": "$records"}, **more).validate("here")
    with server(lambda *_: said(answer)) as url, endpoint(url, protocol=protocol) as box:
        np.testing.assert_allclose(box.answer(X[:4]), wanted, atol=1e-5)


def test_one_record_at_a_time():
    protocol = Protocol({"x": "$record"}, "p", most_records=1).validate("here")

    def reply(_, __, body, ___):
        return said({"p": model([json.loads(body)["x"]])[0].tolist()})

    with server(reply) as url, endpoint(url, protocol=protocol) as box:
        np.testing.assert_allclose(box.answer(X[:3]), model(X[:3]), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path = '/x'", "has no body, expected some of body, answers, path"),
        ("body = '$records'\nurl = 'x'", "has url, expected some of"),
        ("body = {x = 1}", r'body has no "\$records"'),
        ("body = '$record'", "for most_records = 1"),
        ("body = '$records'\nform = 'odds'\nmost_records = 0", "most_records is 0.*form is 'odds'"),
        ("body = '$records'\nanswers = 'a[x'", r"answers is 'a\[x', expected a path"),
        (
            "body = '$records'\nclasses = ['a', 'a']",
            "classes are not at least two names, each once",
        ),
        ("body = ", "cannot read"),
    ],
)
def test_bad_mappings(tmp_path, text, words):
    path = tmp_path / "m.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        find_protocol(str(path))
    assert "\n" not in str(caught.value)


def test_unknown_protocols_and_answers_elsewhere():
    with pytest.raises(
        InputError, match="unknown protocol 'tf'; allowed: jleaks, tf_serving, kserve"
    ):
        find_protocol("tf")
    with server(lambda *_: said({"outputs": {"scores": P.tolist()}})) as url:
        for answers, words in [
            ("predictions", "there is no 'predictions' in an object of outputs"),
            ("outputs", "outputs is an object of scores, expected a list"),
            ("outputs.scores[0]", "has 3 answers for 4 records"),
        ]:
            protocol = Protocol("$records", answers)
            with (
                endpoint(url, protocol=protocol) as box,
                pytest.raises(InputError, match=words),
            ):
                box.answer(X[:4])
    with (
        server(lambda *_: (404, {}, b"")) as url,
        pytest.raises(InputError, match="another --protocol"),
    ):
        endpoint(url)


def test_a_corrected_mapping_reads_what_was_paid_for():
    """The answer is kept by its request, so the same request is not sent again."""
    sent = []

    def reply(_, __, body, ___):
        sent.append(body)
        return said({"scores": P.tolist()})

    with server(reply) as url, Answers() as answers:
        wrong = endpoint(url, None, answers, protocol=Protocol("$records", "posteriors"))
        with pytest.raises(InputError, match="there is no 'posteriors' in an object of scores"):
            wrong.answer(X[:4])
        right = endpoint(url, None, answers, protocol=Protocol("$records", "scores"))
        np.testing.assert_allclose(right.answer(X[:4]), P, atol=1e-6)
        assert len(sent) == 1
        wrong.close()
        right.close()


# Secrets.


def test_no_secret_is_shown_or_kept(tmp_path):
    seen = []

    def reply(_, path, __, headers):
        seen.append((path, headers["Authorization"], headers["X-API-Key"]))
        return (503, {}, b"") if len(seen) == 1 else said(P.tolist())

    lines, secrets = [], ("PASSW0RD", "KEY1", "TOPSECRET")
    (tmp_path / "h").write_text("# mine\n\nX-API-Key: KEY1\n")
    with server(reply) as url, Answers(tmp_path / "a.sqlite") as answers:
        box = endpoint(
            f"{url.replace('://', '://user:PASSW0RD@')}/?k=TOPSECRET", Limits(first_wait=1e-3), answers,
            protocol=Protocol("$records"), headers=read_headers(tmp_path / "h"), report=lines.append,
        )  # fmt: skip
        box.answer(X[:4])
        with pytest.raises(InputError) as caught:
            box.answer(X[:5])
        box.close()
    assert seen[-1] == ("/?k=TOPSECRET", "Basic dXNlcjpQQVNTVzBSRA==", "KEY1")
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("a.sqlite*"))
    text = " ".join([*lines, str(caught.value), box.name, repr(box.source.__dict__["_address"])])
    for secret in secrets:
        assert secret.encode() not in kept
    assert "PASSW0RD" not in text
    assert "KEY1" not in text
    assert "TOPSECRET" not in " ".join([*lines, str(caught.value), box.name])


def test_headers_in_files(tmp_path):
    path = tmp_path / "h"
    for text, words in [
        ("X-Key k", "h:1 is no header"),
        ("A: b\nX Y: SECRET", "h:2 is no header"),
        ("X-Key:", "h:1 is no header"),
        ("X-Key: \x07SECRET", "h:1 is no header"),
        ("X-Key: é", "it is not ASCII"),
    ]:
        path.write_text(text)
        with pytest.raises(InputError, match=words) as caught:
            read_headers(path)
        assert "SECRET" not in str(caught.value)
    with pytest.raises(InputError, match="the header X-Key is not printable") as caught:
        endpoint("http://127.0.0.1:1", protocol="mlflow", headers={"X-Key": "a\r\nSECRET"})
    assert "SECRET" not in str(caught.value)


def test_addresses():
    found = read_address("https://u:p%40@host:8443/a b/?x=1&y=%20")
    assert found.shown == "https://host:8443/a b?..."
    assert found.target("/predict") == "/a%20b/predict?x=1&y=%20"
    assert read_address("http://[::1]:80/").shown == "http://[::1]"
    with pytest.raises(InputError) as caught:
        read_address("ftp://u:PASSW0RD@host/?k=SECRET")
    assert "PASSW0RD" not in str(caught.value)
    assert "SECRET" not in str(caught.value)
    text = "--target_url=http://u:PASSW0RD@h/x?k=1 --epochs=3"
    assert redacted(text) == "--target_url=http://h/x?... --epochs=3"


# Hostile endpoints.


def refused(url, limits=None, **more):
    """What a user reads, and how long it took."""
    tick = time.monotonic()
    limits = limits or Limits(retries=0)
    with (
        endpoint(url, limits, protocol="mlflow", **more) as box,
        pytest.raises((InputError, EndpointError)) as caught,
    ):
        box.answer(X)
    text = str(caught.value)
    assert text.isprintable()
    return text, time.monotonic() - tick


def test_no_redirect_is_followed():
    seen = []

    def other(*args):
        seen.append(args)
        return said([])

    with server(other) as elsewhere:
        for status in (301, 302, 307, 308):
            with server(lambda *_, at=status: (at, {"Location": elsewhere}, b"")) as url:
                text, _ = refused(url, headers={"X-Key": "k"})
            assert f"status {status}, to {elsewhere}: redirects are not followed" in text
    assert seen == []


def endless():
    while True:
        yield b"1" * 65_536


def dripping():
    for _ in range(200):
        time.sleep(0.02)
        yield b"1"


@pytest.mark.parametrize(
    "found",
    [
        (200, {}, b"[" + b"0," * 2_000_000),
        (200, {}, endless()),
        (200, {"Content-Encoding": "gzip"}, gzip.compress(b"0" * 50_000_000, 1)),
        (200, {"Content-Encoding": "deflate"}, gzip.zlib.compress(b"0" * 50_000_000, 1)),
        (500, {}, endless()),
    ],
)
def test_large_answers_are_bounded(found):
    with server(lambda *_: found) as url:
        text, seconds = refused(url)
    assert "larger than the 1,867,776 bytes" in text
    assert seconds < 10


def test_encodings_that_nobody_asked_for():
    packed = gzip.compress(json.dumps({"predictions": model(X).tolist()}).encode())
    with (
        server(lambda *_: (200, {"Content-Encoding": "gzip"}, packed)) as url,
        endpoint(url, protocol="mlflow") as box,
    ):
        np.testing.assert_allclose(box.answer(X), model(X), atol=1e-6)
    for encoding, words in [("br", "encoded as 'br'"), ("gzip", "the answer is no gzip")]:
        with server(lambda *_, e=encoding: (200, {"Content-Encoding": e}, b"abc")) as url:
            assert words in refused(url)[0]


def test_an_answer_that_drips_ends():
    with server(lambda *_: (200, {"Content-Length": "1000"}, dripping())) as url:
        text, seconds = refused(url, Limits(retries=0, answer_timeout=0.2))
    assert "no whole answer within 0.2 s; given up after 1 attempts" in text
    assert seconds < 2


def test_an_answer_in_flight_is_kept_when_the_run_is_told_to_stop():
    stop, sizes = StopSignal(), []

    def reply(_, __, body, ___):
        stop.received = 15
        time.sleep(0.2)
        sizes.append(len(json.loads(body)["inputs"]))
        return said({"predictions": model(json.loads(body)["inputs"]).tolist()})

    with server(reply) as url, Answers() as answers:
        with (
            endpoint(url, Limits(batch=10), answers, protocol="mlflow", stop=stop) as box,
            pytest.raises(Preempted),
        ):
            box.answer(X)
        stop.received = None
        with endpoint(url, Limits(batch=10), answers, protocol="mlflow") as box:
            box.answer(X)
            assert box.num_sent == 25
    assert sizes == [10, 10, 5]


def test_a_stop_signal_ends_the_waiting(monkeypatch):
    monkeypatch.setattr(transport, "_GRACE", 0.1)
    stop = StopSignal()
    timer = threading.Timer(0.2, lambda: setattr(stop, "received", 15))
    with server(lambda *_: (200, {"Content-Length": "1000"}, dripping())) as url:
        with endpoint(url, protocol="mlflow", stop=stop) as box:
            timer.start()
            tick = time.monotonic()
            with pytest.raises(Preempted, match="all answers so far are kept"):
                box.answer(X)
        assert time.monotonic() - tick < 2


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"error": "busy [/b] \\u001b]0;title\\u0007"}', "(busy [/b] ]0;title)"),
        (b"\x1b[2J\x9b31m\xe2\x80\xaereversed", "reversed"),
        (b'{"error": {"a": 1}}', "({'a': 1})"),
        (b"[" * 100_000, "([[["),
    ],
)
def test_words_of_endpoints_are_no_terminal_control(body, shown):
    for status in (400, 503):
        with server(lambda *_, at=status: (at, {}, body)) as url:
            assert shown in refused(url)[0]


def test_text_is_one_plain_line():
    assert plain("a\x1b[31mb\r\nc\u202ed\x00") == "a [31mb c d"
    assert len(plain("x" * 10_000)) == 200


def test_strings_make_no_room():
    """A long string among records would make NumPy room for as many of its length."""
    rows = [[0.5, 0.5, 0.0]] * 24 + [["x" * 1_000_000, 0, 0]]
    with server(lambda *_: said({"predictions": rows})) as url:
        assert "record 24 has nan" in refused(url)[0]


# Functions behind the same store, budget and pace.


def test_functions_are_kept_and_have_a_budget(tmp_path):
    sizes = []

    def fn(records):
        sizes.append(len(records))
        return model(records)

    limits = Limits(batch=10, budget=30)
    for _ in range(2):
        with Answers(tmp_path / "a") as answers, metered(fn, limits, answers, identity="f") as box:
            np.testing.assert_allclose(box.answer(X), model(X), atol=1e-6)
            with pytest.raises(
                InputError, match=r"25 more records .* budget is 30 and 25 were sent"
            ):
                box.answer(X + 1)
    assert sizes == [10, 10, 5]


def test_a_function_may_return_tensors_and_lists():
    import jax.numpy as jnp

    class Tensor:
        """As torch's: no array until it is detached."""

        def __init__(self, values):
            self.values = values

        def __array__(self, *_, **__):
            raise RuntimeError("Can't call numpy() on Tensor that requires grad")

        def detach(self):
            return self

        def cpu(self):
            return self.values

    for make in (list, Tensor, jnp.asarray):
        with metered(lambda r, make=make: make(model(r))) as box:
            np.testing.assert_allclose(box.answer(X), model(X), atol=1e-6)
