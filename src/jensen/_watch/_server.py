"""The server of the page: four fixed addresses, GET and HEAD, nothing of a request is ever a path."""

import hmac
import ipaddress
import json
import socket
import urllib.parse
from functools import partial
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

from jensen._watch._state import read_state

COOKIE = "jensen_watch"
TIMEOUT = 10.0  # seconds for a request to arrive
STATE = "/state.json"
ASSETS = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Handler(BaseHTTPRequestHandler):
    """Answers one request. A wrong host is 421, a missing or wrong token 403, another method 405, the rest 404."""

    server_version, sys_version = "jensen", ""
    timeout = TIMEOUT

    def __init__(self, *args: Any, folder: Path, token: str | None, hosts: tuple[str, ...] | None, **kwargs: Any):
        self.folder, self.token, self.hosts = folder, token, hosts
        super().__init__(*args, **kwargs)

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):  # the reader has gone
            self.close_connection = True

    def do_GET(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        if not self._right_host():
            return self._refuse(421, "This server does not go by that name.")
        given = urllib.parse.parse_qs(address.query, max_num_fields=10).get("token", [""])[0]
        if not self._allowed(given):
            return self._refuse(403, "Open the address that jensen watch printed, with its token.")
        if address.path == STATE:
            data = json.dumps(read_state(self.folder), allow_nan=False).encode()
            return self._answer(200, "application/json", data)
        if address.path in ASSETS:
            name, kind = ASSETS[address.path]
            data = resources.files("jensen._watch").joinpath(name).read_bytes()
            cookie = f"{COOKIE}={given}; HttpOnly; SameSite=Strict; Path=/" if self.token and given else None
            return self._answer(200, kind, data, cookie)
        return self._refuse(404, "There is no such page.")

    do_HEAD = do_GET

    def _other(self) -> None:
        self._refuse(405, "Read-only: GET and HEAD.", allow="GET, HEAD")

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _other

    def _right_host(self) -> bool:
        """A page elsewhere may point a name of its own at this machine (DNS rebinding): that name is in `Host`."""
        host = self.headers.get("Host", "")
        try:
            name = urllib.parse.urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in (self.hosts or ()) or (self.token is not None and _is_address(name))

    def _allowed(self, given: str) -> bool:
        if self.token is None:
            return True
        scheme, _, bearer = self.headers.get("Authorization", "").partition(" ")
        try:
            morsel = SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
        except CookieError:
            morsel = None
        offers = [given, bearer if scheme.lower() == "bearer" else "", morsel.value if morsel else ""]
        # every offer is compared, each in constant time
        return any([hmac.compare_digest(offer.encode(errors="replace"), self.token.encode()) for offer in offers])

    def _answer(self, code: int, kind: str, data: bytes, cookie: str | None = None, allow: str | None = None) -> None:
        self.send_response(code)
        for name, value in (HEADERS | {"Content-Type": kind, "Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        if cookie is not None:
            self.send_header("Set-Cookie", cookie)
        if allow is not None:
            self.send_header("Allow", allow)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, code: int, words: str, allow: str | None = None) -> None:
        self._answer(code, "text/plain; charset=utf-8", f"{words}\n".encode(), allow=allow)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the library itself refuses: malformed requests and methods without a name here."""
        self.close_connection = True
        if not hasattr(self, "command") or self.command is None:
            self.command = "GET"
        if not getattr(self, "request_version", ""):
            self.request_version = "HTTP/1.0"
        self._refuse(405 if code == 501 else code, "That request is not understood.")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a token stands in the addresses."""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Server(ThreadingHTTPServer):
    """One thread a request, none of which keeps the process alive."""

    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A broken connection is the reader's affair."""


def make_server(folder: Path, host: str, port: int, token: str | None) -> Server:
    """A server on `host` and `port` (0: any), not yet serving. Raises `OSError` where the port cannot be had."""
    hosts = (*LOOPBACK, host.lower(), socket.gethostname().lower()) if token else (*LOOPBACK, host.lower())
    kind = type("Server6", (Server,), {"address_family": socket.AF_INET6}) if ":" in host else Server
    return kind((host, port), partial(Handler, folder=folder, token=token, hosts=hosts))
