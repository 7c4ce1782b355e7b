"""Bad inputs from HTTP: endpoints that answer what they should not, on the loopback device."""

import contextlib
import gzip
import http.server
import json
import threading

from .case import Bad
from .worlds import records, several, text

_ABOUT = {"task": "toy", "num_classes": 3, "shape": [4], "dtype": "uint8", "most_records": 10}
_JSON = {"Content-Type": "application/json"}


def _about(**changes):
    """What an endpoint says of itself, but for something."""
    return json.dumps({k: v for k, v in {**_ABOUT, **changes}.items() if v is not None}).encode()


def _answers(rows):
    """An answer whose posteriors are of a kind."""
    return json.dumps({"posteriors": rows}).encode()


_GOOD = [[0.2, 0.3, 0.5]] * 10
# What each endpoint says of itself, and answers: bodies, or status, headers and body.
REPLIES = {
    "about_text": (b"hello", b""),
    "about_list": (b"[]", b""),
    "about_null": (b"null", b""),
    "about_brackets": (b"[" * 100_000, b""),
    "about_latin": (b"\xff\xfe", b""),
    "about_no_classes": (_about(num_classes=None), b""),
    "about_one_class": (_about(num_classes=1), b""),
    "about_classes_text": (_about(num_classes="three"), b""),
    "about_classes_huge": (_about(num_classes=10**18), b""),
    "about_shape": (_about(shape="4"), b""),
    "about_shape_other": (_about(shape=[5]), b""),
    "about_shape_huge": (_about(shape=[10**12]), b""),
    "about_dtype": (_about(dtype="object"), b""),
    "about_dtype_code": (_about(dtype="__import__('os')"), b""),
    "about_most_0": (_about(most_records=0), b""),
    "about_most_text": (_about(most_records="many"), b""),
    "about_task_list": (_about(task=["toy"]), b""),
    "about_ansi": (_about(dtype="\x1b]0;title\x07\x1b[2J"), b""),
    "about_markup": (_about(dtype="[/b]"), b""),
    "about_404": ((404, {}, b'{"error": "[/b] none \\u001b[2J"}'), b""),
    "about_redirect": ((302, {"Location": "http://127.0.0.1:1/"}, b""), b""),
    "about_redirect_file": ((302, {"Location": "file:///etc/passwd"}, b""), b""),
    "about_bomb": ((200, {"Content-Encoding": "gzip"}, gzip.compress(b" " * (1 << 26))), b""),
    "about_large": (b'"' + b"x" * (1 << 24) + b'"', b""),
    "answer_text": (_about(), b"hello"),
    "answer_list": (_about(), b"[]"),
    "answer_nothing": (_about(), b"{}"),
    "answer_null": (_about(), _answers(None)),
    "answer_words": (_about(), _answers("certainly")),
    "answer_strings": (_about(), _answers([["a", "b", "c"]] * 10)),
    "answer_bools": (_about(), _answers([[True, False, False]] * 10)),
    "answer_ragged": (_about(), _answers([*_GOOD[:9], [0.5, 0.5]])),
    "answer_few": (_about(), _answers(_GOOD[:9])),
    "answer_many": (_about(), _answers(_GOOD * 2)),
    "answer_classes": (_about(), _answers([[0.5, 0.5]] * 10)),
    "answer_negative": (_about(), _answers([[-0.2, 0.7, 0.5]] * 10)),
    "answer_sum": (_about(), _answers([[0.9, 0.9, 0.9]] * 10)),
    "answer_nan": (_about(), b'{"posteriors": [[NaN, NaN, NaN]]}'),
    "answer_inf": (_about(), b'{"posteriors": [[1e999, 0, 0]]}'),
    "answer_digits": (_about(), b'{"posteriors": [[' + b"9" * 5000 + b", 0, 0]]}"),
    "answer_bomb_string": (_about(), _answers(["x" * 1_000_000] * 10)),
    "answer_brackets": (_about(), b'{"posteriors": ' + b"[" * 100_000),
    "answer_large": (_about(), b'{"posteriors": "' + b"x" * (1 << 26) + b'"}'),
    "answer_bomb": (_about(), (200, {"Content-Encoding": "gzip"}, gzip.compress(b" " * (1 << 28)))),
    "answer_no_gzip": (_about(), (200, {"Content-Encoding": "gzip"}, b"hello")),
    "answer_encoding": (_about(), (200, {"Content-Encoding": "rot13"}, b"hello")),
    "answer_400": (_about(), (400, {}, b'{"error": "no \\u001b[2J [/b]"}')),
    "answer_401": (_about(), (401, {}, b"")),
    "answer_redirect": (_about(), (307, {"Location": "http://127.0.0.1:1/"}, b"")),
    "answer_204": (_about(), (204, {}, b"")),
}
# Refused by what the records are, not by who answers.
_BY_RECORDS = {"about_shape_other": "[batch, 5]", "about_shape_huge": "[batch, 1000000000000]"}


class _Handler(http.server.BaseHTTPRequestHandler):
    def _reply(self, place):
        name = self.path.split("/")[1]
        reply = REPLIES[name][place] if name in REPLIES else (404, {}, b"")
        status, headers, body = reply if isinstance(reply, tuple) else (200, _JSON, reply)
        with contextlib.suppress(OSError):
            self.send_response(status)
            for header, value in headers.items():
                self.send_header(header, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def do_GET(self):
        self._reply(0)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._reply(1)

    def log_message(self, *_):
        """Says nothing."""


@contextlib.contextmanager
def serving():
    """Gives the address below which every endpoint has a folder."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


_ASKED = ["--records={}/r.npz", "--retries=0", "--batch=10"]
_FLAGS = {
    "no_scheme": (["--target_url=example"], "example"),
    "ftp": (["--target_url=ftp://127.0.0.1/"], "ftp"),
    "file": (["--target_url=file:///etc/passwd"], "file"),
    "host": (["--target_url=http://a..b/"], "a..b"),
    "port": (["--target_url=http://127.0.0.1:99999/"], "99999"),
    "newline": (["--target_url=http://127.0.0.1/\n"], "http"),
    "protocol": (["--target_url={url}/answer_few", "--protocol=soap"], ["soap", "jleaks"]),
    "mapping_nowhere": (["--target_url={url}/answer_few", "--protocol={}/none.toml"], "none.toml"),
    "mapping_text": (["--target_url={url}/answer_few", "--protocol={}/m.toml"], "m.toml"),
    "token_nowhere": (["--target_url={url}/answer_few", "--token_file={}/none"], "none"),
    "token_lines": (["--target_url={url}/answer_few", "--token_file={}/two"], "two"),
    "header_lines": (["--target_url={url}/answer_few", "--header_file={}/m.toml"], "m.toml"),
    "budget_0": (["--target_url={url}/answer_few", "--budget=0"], "budget"),
    "budget_small": (["--target_url={url}/answer_few", "--budget=5"], "budget"),
    "rate_0": (["--target_url={url}/answer_few", "--rate=0"], "records_per_second"),
    "timeout_0": (["--target_url={url}/answer_few", "--timeout=0"], "timeout"),
    "timeout_nan": (["--target_url={url}/answer_few", "--timeout=nan"], "timeout"),
    "retries_negative": (["--target_url={url}/answer_few", "--retries=-1"], "retries"),
    "cache_text": (["--target_url={url}/answer_few", "--cache={}/out/two"], "two"),
    "cache_folder": (["--target_url={url}/answer_few", "--cache={}/out/d"], "out/d"),
    "classes_1": (["--target_url={url}/answer_few", "--num_classes=1"], "num_classes"),
    "classes_other": (["--target_url={url}/answer_few", "--num_classes=7"], "7"),
}
_WORLD = several(
    records(),
    text("m.toml", "hello"),
    text("two", "one\ntwo\n"),
    text("out/two", "one\ntwo\n"),
    text("out/d/x", ""),
)

CASES = [
    *(
        Bad(f"http_{name}", [f"--target_url={{url}}/{name}", *_ASKED], _BY_RECORDS.get(name, "127.0.0.1"), records())
        for name in REPLIES
    ),
    *(Bad(f"url_{name}", [*_ASKED, *flags], says, _WORLD) for name, (flags, says) in _FLAGS.items()),
    Bad("url_nobody", ["--target_url=http://127.0.0.1:1/", *_ASKED], "127.0.0.1:1", records(), status=1),
]  # fmt: skip
