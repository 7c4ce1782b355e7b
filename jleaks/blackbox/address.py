"""Addresses of endpoints, and what of them and of foreign text may be shown.

A password or a key in an address is a secret: it is sent, and appears in no row, log, table or cache.
"""

import base64
import dataclasses
import re
import urllib.parse

from jleaks.errors import InputError

_EXPECTED = "is not an address such as http://127.0.0.1:8000"
_IN_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://\S+")


@dataclasses.dataclass(frozen=True)
class Address:
    """Where an endpoint is.

    Attributes:
      scheme: "http" or "https".
      host: Name or number.
      port: Of the host.
      path: Of the endpoint, without a slash at its end; empty for the root.
      query: What follows the question mark; empty for nothing.
      authorization: Value of the header that user and password in the address make; empty without.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""
    authorization: str = dataclasses.field(default="", repr=False)

    @property
    def shown(self) -> str:
        """What logs and rows call it: no user, password or values of a query."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"http": 80, "https": 443}[self.scheme] == self.port
        return f"{self.scheme}://{host}{'' if usual else f':{self.port}'}{self.path}" + (
            "?..." if self.query else ""
        )

    @property
    def place(self) -> str:
        """What tells it from other endpoints, the query's values among it; for digests alone."""
        return f"{self.shown}{self.query}"

    def target(self, path: str) -> str:
        """Returns what a request line names: the endpoint's path, a request's own and the query."""
        whole = urllib.parse.quote(self.path + path, safe="/:@!$&'()*+,;=~%-._?") or "/"
        joint = "&" if "?" in whole else "?"
        return f"{whole}{joint}{self.query}" if self.query else whole


def read_address(url: str) -> Address:
    """Reads the address of an endpoint.

    Raises:
      InputError: it is none; the message does not show what may be a password.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        port, host = parts.port, parts.hostname
        if host:
            # Before it reaches a socket: labels of no or of too many letters.
            host.encode("idna")
    except ValueError:
        raise InputError(f"{redacted(plain(url))!r} {_EXPECTED}") from None
    if parts.scheme not in ("http", "https") or not host or not url.isprintable():
        raise InputError(f"{redacted(plain(url))!r} {_EXPECTED}")
    authorization = ""
    if parts.username is not None:
        pair = f"{parts.username}:{parts.password or ''}"
        encoded = base64.b64encode(urllib.parse.unquote(pair).encode()).decode()
        authorization = f"Basic {encoded}"
    return Address(
        scheme=parts.scheme,
        host=host,
        port=port or {"http": 80, "https": 443}[parts.scheme],
        path=parts.path.rstrip("/"),
        query=urllib.parse.quote(parts.query, safe="/:@!$&'()*+,;=~%-._?"),
        authorization=authorization,
    )


def redacted(text: str) -> str:
    """Returns a text without the passwords of the addresses in it, nor the values of their queries."""

    def clean(found: re.Match[str]) -> str:
        return re.sub(r"\?.*", "?...", re.sub(r"(?<=://)[^/?#]*@", "", found[0]))

    return _IN_URL.sub(clean, text)


def plain(text: str, length: int = 200) -> str:
    """Returns foreign text as one line that a terminal only prints: no escapes, not too long."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * length]).split())[
        :length
    ]
