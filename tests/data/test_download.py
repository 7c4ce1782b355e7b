"""Downloads from a server on the loopback: resumed, verified, and clear about what went wrong."""

import hashlib
import http.server
import shutil
import socket
import threading

import pytest
from raw_files import write_adult, write_location

from jleaks import data as data_lib
from jleaks.data.sources import download as download_module
from jleaks.data.sources.download import Download, checksum, fetch
from jleaks.errors import InputError

CONTENT = bytes(range(256)) * 400
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`, and breaks off after `server.limit` bytes of the next answer if set."""

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        if server.status:
            self.send_error(server.status)
            return
        content = server.files.get(self.path.rsplit("/", 1)[-1])
        if content is None:
            self.send_error(404)
            return
        start = 0
        wanted = self.headers.get("Range")
        fresh = self.headers.get("If-Range") in (None, server.tag)
        if wanted and server.ranges and fresh:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", server.tag)
        self.end_headers()
        stop = len(content) if server.limit is None else start + server.limit
        server.limit = None
        self.wfile.write(content[start:stop])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download_module, "_PAUSE", 0.01)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as found:
        found.files, found.requests = {"file.bin": CONTENT}, []
        found.status, found.limit, found.ranges, found.tag = None, None, True, '"v1"'
        found.url = f"http://127.0.0.1:{found.server_port}"
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture
def file(server):
    return Download(f"{server.url}/file.bin", SHA256)


def _quiet(_):
    pass


def test_fetches_once(server, file, tmp_path):
    lines = []
    path = fetch(file, tmp_path, report=lines.append)
    assert path.read_bytes() == CONTENT
    assert fetch(file, tmp_path, report=lines.append) == path
    assert server.requests == [("/file.bin", None)]
    assert lines == [f"downloading {file.url}"]
    assert [found.name for found in tmp_path.iterdir()] == ["file.bin"]


def test_a_connection_that_breaks_is_resumed_at_once(server, file, tmp_path):
    server.limit = 1000
    assert fetch(file, tmp_path, report=_quiet).read_bytes() == CONTENT
    assert server.requests == [("/file.bin", None), ("/file.bin", "bytes=1000-")]


def test_an_interrupted_download_is_resumed_by_the_next_call(server, file, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:5000])
    (tmp_path / "file.bin.part.etag").write_text('"v1"')
    assert fetch(file, tmp_path, report=_quiet).read_bytes() == CONTENT
    assert server.requests == [("/file.bin", "bytes=5000-")]


def test_starts_over_if_the_server_has_no_ranges_or_another_version(server, file, tmp_path):
    server.ranges = False
    (tmp_path / "file.bin.part").write_bytes(b"x" * 5000)
    assert fetch(file, tmp_path / ".", report=_quiet).read_bytes() == CONTENT
    server.ranges = True
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "file.bin.part").write_bytes(b"x" * 5000)
    (tmp_path / "again" / "file.bin.part.etag").write_text('"v0"')
    assert fetch(file, tmp_path / "again", report=_quiet).read_bytes() == CONTENT


def test_a_complete_part_needs_no_further_byte(file, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert fetch(file, tmp_path, report=_quiet).read_bytes() == CONTENT


def test_another_checksum_is_refused_and_the_file_removed(server, file, tmp_path):
    server.files["file.bin"] = CONTENT[::-1]
    with pytest.raises(
        InputError, match=rf"file.bin: the content has sha256:\w+, expected {SHA256}"
    ):
        fetch(file, tmp_path, report=_quiet)
    assert not list(tmp_path.iterdir())


def test_checksum_kinds(tmp_path):
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    # What `git hash-object` and `md5sum` say.
    assert checksum(path, "git-blob") == "git-blob:ce013625030ba8dba906f756967f9e9ca394464a"
    assert checksum(path, "md5") == "md5:b1946ac92492d2347c6235b4d2611184"


def test_a_server_that_refuses(server, file, tmp_path):
    with pytest.raises(InputError, match=r"nothing.bin: the server answered 404 Not Found"):
        fetch(Download(f"{server.url}/nothing.bin", SHA256), tmp_path, report=_quiet)
    server.status = 503
    with pytest.raises(InputError, match=r"cannot be reached \(503 Service Unavailable\)"):
        fetch(file, tmp_path, report=_quiet)


def test_an_unreachable_host_is_one_line(server, tmp_path):  # noqa: ARG001
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file.bin"
    with pytest.raises(InputError, match=r"127.0.0.1 cannot be reached \(Connection refused\)"):
        fetch(Download(url, SHA256), tmp_path, report=_quiet)
    with pytest.raises(InputError, match=r"no-such-host.invalid cannot be reached \("):
        fetch(Download("http://no-such-host.invalid/f", SHA256), tmp_path, report=_quiet)


def test_a_silent_host_runs_into_the_timeout(server, tmp_path):  # noqa: ARG001
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file.bin"
        with pytest.raises(InputError, match=r"cannot be reached \(timed out\)"):
            fetch(Download(url, SHA256), tmp_path, timeout=0.1, report=_quiet)


def test_a_folder_that_cannot_be_written(file, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*taken: "):
        fetch(file, tmp_path / "taken", report=_quiet)


def test_prepare_downloads_from_a_mirror(server, tmp_path, rng, monkeypatch):
    from jleaks.data.sources.location import Location

    features, _ = write_location(tmp_path, rng)
    archive = tmp_path / "dataset_location.tgz"
    official = Download("http://official/dataset_location.tgz", checksum(archive, "sha256"))
    monkeypatch.setattr(Location, "DOWNLOADS", (official,))
    server.files["dataset_location.tgz"] = archive.read_bytes()
    data = tmp_path / "data"
    lines = []
    data_lib.prepare(["location"], data, mirror=server.url, report=lines.append)
    assert (data_lib.load("location", data).features == features).all()
    # Preparing again, after the prepared data was removed, does not download again.
    shutil.rmtree(data / "location")
    data_lib.prepare(["location"], data, mirror=server.url, report=lines.append)
    assert len(server.requests) == 1
    assert lines[0] == f"location: downloading {server.url}/dataset_location.tgz"


def test_prepare_refuses_other_files_than_the_official_ones(server, tmp_path):
    write_adult(tmp_path)
    server.files |= {name: (tmp_path / name).read_bytes() for name in ("adult.data", "adult.test")}
    with pytest.raises(InputError, match=r"adult.data: the content has sha256"):
        data_lib.prepare(["adult"], tmp_path / "data", mirror=server.url, report=_quiet)
