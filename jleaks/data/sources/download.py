"""Downloads: fetched once, resumed where they broke off, verified before they count.

TFDS has a download manager, but it sets no timeout (an unreachable host blocks for minutes), starts
an interrupted file over, and stores files under hashed names that a reader cannot recognise; hence
this small one.
"""

import contextlib
import dataclasses
import hashlib
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from jleaks.errors import InputError

_BLOCK = 1 << 18
# Seconds without a byte before a connection counts as broken.
_TIMEOUT = 30.0
# Attempts in a row that bring no new byte before a download is given up, and seconds between them.
_FRUITLESS_ATTEMPTS = 2
_PAUSE = 1.0


@dataclasses.dataclass(frozen=True)
class Download:
    """A file at its canonical address.

    Attributes:
      url: The address.
      checksum: "sha256:<hex>", "md5:<hex>" or "git-blob:<hex>" (the id git gives the content).
      name: File name in the official distribution, where the address does not end in it.
    """

    url: str
    checksum: str
    name: str = ""

    @property
    def file_name(self) -> str:
        """Name under which the file is kept."""
        return self.name or PurePosixPath(urllib.parse.urlparse(self.url).path).name


def fetch(
    download: Download,
    folder: Path,
    *,
    mirror: str | None = None,
    timeout: float = _TIMEOUT,
    report: Callable[[str], None] = print,
) -> Path:
    """Downloads a file, unless it has been before.

    A file under its final name is complete and verified.  Until then it is called `<name>.part`,
    and a later call goes on where the last one stopped if the server can (HTTP Range), and from the
    start if it cannot or its file has changed since.

    Args:
      download: What to fetch.
      folder: Where to keep it; made if need be.
      mirror: Base address to use in place of the canonical one: `<mirror>/<file name>`.
      timeout: Seconds without a byte before the connection counts as broken.
      report: Receives a line when a download starts and whenever it starts again.

    Returns:
      Path of the file.

    Raises:
      InputError: the host cannot be reached or refuses, the content has another checksum, or the
        folder cannot be written.
    """
    target = folder / download.file_name
    if target.exists():
        return target
    url = f"{mirror.rstrip('/')}/{download.file_name}" if mirror else download.url
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    part = folder / f"{download.file_name}.part"
    report(f"downloading {url}")
    host = urllib.parse.urlparse(url).hostname
    start = best = _size(part)
    fruitless = 0
    while True:
        try:
            _receive(url, part, timeout)
            break
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise InputError(
                    f"{url}: the server answered {error.code} {error.reason}"
                ) from error
            reason = f"{error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", error)
            reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        fruitless = fruitless + 1 if _size(part) <= best else 0
        best = max(best, _size(part))
        if fruitless == _FRUITLESS_ATTEMPTS:
            raise InputError(
                f"cannot download {url}: {host} cannot be reached ({reason}); check the network, or "
                "fetch the file by hand and give its folder as raw_dir"
                if best == start
                else f"cannot download {url}: it broke off at {best:,} bytes ({reason}); the same "
                "call goes on from there"
            )
        report(f"trying again at {best:,} bytes ({reason})")
        time.sleep(_PAUSE)
    found = checksum(part, download.checksum.partition(":")[0])
    if found != download.checksum:
        _discard(part)
        raise InputError(
            f"{url}: the content has {found}, expected {download.checksum}; it was removed"
        )
    part.replace(target)
    _validator(part).unlink(missing_ok=True)
    return target


def checksum(path: Path, kind: str) -> str:
    """Returns "<kind>:<hex>" of a file, `kind` being "sha256", "md5" or "git-blob"."""
    if kind == "git-blob":
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        digest = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return f"{kind}:{digest.hexdigest()}"


def _receive(url: str, part: Path, timeout: float) -> None:
    """Appends to `part` what is missing of `url`."""
    from tqdm import tqdm

    have = _size(part)
    headers = {"User-Agent": "jleaks", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        with contextlib.suppress(FileNotFoundError):
            # Without this the halves of two versions of a file could be glued together.
            headers["If-Range"] = _validator(part).read_text("utf-8")
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=timeout
        )
    except urllib.error.HTTPError as error:
        if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            # Nothing lies beyond what is here: complete, or of an older version; the checksum
            # tells, and discards the latter.
            return
        raise
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT and str(
            response.headers.get("Content-Range", "")
        ).startswith(f"bytes {have}-")
        length = response.headers.get("Content-Length")
        total = int(length) + (have if resumed else 0) if length else None
        size = have if resumed else 0
        try:
            file = part.open("ab" if resumed else "wb")
            # Last-Modified has whole seconds and weak tags are not for ranges: strong tags only.
            tag = response.headers.get("ETag", "")
            if tag and not tag.startswith("W/"):
                _validator(part).write_text(tag, "utf-8")
            else:
                _validator(part).unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(part, error) from error
        bar = tqdm(
            total=total, initial=size, unit="B", unit_scale=True, desc=part.stem, leave=False,
            disable=None,
        )  # fmt: skip
        with file, bar:
            while block := response.read(_BLOCK):
                try:
                    file.write(block)
                except OSError as error:
                    raise _unwritable(part, error) from error
                size += len(block)
                bar.update(len(block))
        # http.client returns short without a word when the other side closes early.
        if total is not None and size < total:
            raise ConnectionError(f"the connection closed after {size:,} of {total:,} bytes")


def _validator(part: Path) -> Path:
    """The file that holds the server's ETag of what `part` is the beginning of."""
    return part.with_name(f"{part.name}.etag")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator(part).unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot write {path}: {error.strerror or error}")
