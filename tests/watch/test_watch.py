"""The live page: its numbers, and that a stranger gets nothing out of the server and nothing into the page."""

import html.parser
import http.client
import json
import math
import socket
import threading
import time

import pytest

from jensen import cli
from jensen._watch import make_server, read_state
from jensen._watch._command import check_token
from jensen._watch._server import HEADERS
from jensen.core import Certificate, Check, InputError
from jensen.progress import FILE, JsonLines, Moment

EVIL = "<script>document.title='OWNED'</script>"
TOKEN = "a-token-of-some-length"
CHECK = Check("k-hat", 0.9, 0.1, 0.7, False, "far modes", True, EVIL, "Use a flow.")


@pytest.fixture
def folder(tmp_path):
    log = JsonLines(tmp_path / FILE, interval=0.0)
    for step in range(0, 2001):
        log.update(Moment("GradientVI", step, 2000, 0.1 * step, 10.0, 5.0, 100 / (step + 1), 1.0, 2**30, None, ()))
    log.close()
    log.certified("GradientVI", Certificate((CHECK,), khat=0.9, elbo=-3.0))
    log.update(Moment(EVIL, 0, 50, 0.0, notes=(EVIL,)))
    log.update(Moment(EVIL, 7, 50, 1.0, None, None, math.nan, math.nan, None, None, (EVIL, "more")))
    with (tmp_path / FILE).open("a") as file:
        file.write('{"event": "step", "number": 2, "run": "half wri')
    return tmp_path


def test_the_state_is_that_of_the_log(folder):
    state = read_state(folder)
    assert json.loads(json.dumps(state, allow_nan=False)) == state
    assert (state["title"], state["status"]) == (folder.name, "running")
    first, second = state["runs"]
    assert (first["name"], first["step"], first["ended"], second["ended"]) == ("GradientVI", 2000, True, False)
    assert len(first["trace"]) <= 600
    assert (first["trace"][0], first["trace"][-1]) == ([0, 100.0], [2000, 100 / 2001])
    assert first["certificate"]["checks"] == [{"name": "k-hat", "value": 0.9, "threshold": 0.7, "holds": False}]
    assert first["certificate"]["passed"] is False
    assert second["notes"] == [EVIL, "more"]
    assert (second["rate"], second["objective"], second["trace"]) == (None, None, [])
    assert state["memory"][0][1] == 2**30


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "no json\n",
        "[]\n3\nnull\n",
        "[" * 100_000 + "\n",
        '{"number": 1e999, "event": "step"}\n',
        '{"number": true}\n{"number": -1}\n{"number": "1"}\n',
        '{"number": 1, "event": "step", "step": "x", "objective": NaN, "notes": 3, "run": []}\n',
        '{"number": 1, "event": "certificate", "checks": 3, "reasons": {}, "khat": "x"}\n',
        '{"number": 1, "event": "certificate", "checks": [1, {"name": 3, "value": [], "holds": "yes"}]}\n',
        '{"number": 1, "event": "step", "step": 1e308, "objective": -1e999, "time": "now"}\n',
        '{"number": 1, "event": "step", "step": 1' + "0" * 400 + "}\n",
        "\x00\xff" * 1000 + "\n",
    ],
)
def test_logs_of_strangers_are_read_as_far_as_they_make_sense(tmp_path, text):
    (tmp_path / FILE).write_bytes(text.encode("latin-1"))
    state = read_state(tmp_path)
    json.dumps(state, allow_nan=False)
    assert state["status"] in ("waiting", "running", "silent")


def test_only_the_end_of_a_long_log_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("jensen._watch._state.MAX_BYTES", 2000)
    with (tmp_path / FILE).open("w") as file:
        for step in range(1000):
            file.write(
                json.dumps({"number": 1, "event": "step", "step": step, "objective": 1.0, "time": time.time()}) + "\n"
            )
    trace = read_state(tmp_path)["runs"][0]["trace"]
    assert trace[-1] == [999, 1.0]
    assert len(trace) < 40


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "secret").write_text('{"number": 1, "event": "step", "run": "secret"}\n')
    (tmp_path / FILE).symlink_to(tmp_path / "secret")
    assert read_state(tmp_path)["runs"] == []


@pytest.fixture
def serve(folder):
    """A function that starts a server and gives one that asks it, for (status, headers, body)."""
    servers = []

    def start(token=None):
        server = make_server(folder, "127.0.0.1", 0, token)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        port = server.server_address[1]

        def ask(path, method="GET", **headers):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=names)
            response = connection.getresponse()
            out = response.status, dict(response.getheaders()), response.read()
            connection.close()
            return out

        return ask, port

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_four_addresses(serve, folder):
    ask, _ = serve()
    kinds = {
        "/": "text/html",
        "/page.js": "text/javascript",
        "/page.css": "text/css",
        "/state.json": "application/json",
    }
    for path, kind in kinds.items():
        status, headers, body = ask(path)
        assert status == 200
        assert headers["Content-Type"].startswith(kind)
        assert HEADERS.items() <= headers.items()
        assert "Python" not in headers["Server"]
        assert int(headers["Content-Length"]) == len(body)
        empty = ask(path, "HEAD")
        assert (empty[0], empty[2]) == (200, b"")
    assert json.loads(ask("/state.json")[2])["runs"][1]["name"] == EVIL


def test_it_is_read_only(serve):
    ask, _ = serve()
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "FOO"):
        status, headers, _ = ask("/state.json", method)
        assert status == 405
        assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        *("/../../etc/passwd", "/..%2f..%2fetc/passwd", "/%2e%2e/", "//etc/passwd", "/page.js/..", "/_server.py"),
        *(
            f"/{FILE}",
            "/fit.json",
            "/page.html",
            "/state.json/",
            "/?/../x",
            "/\\..\\x",
            "/page.js%00",
            "/" + "a" * 9000,
        ),
    ],
)
def test_no_address_is_a_path(serve, path):
    status, headers, body = serve()[0](path)
    if path.startswith("/?"):
        assert body.startswith(b"<!doctype html>")
    else:
        assert status == 404
    assert b"root:" not in body
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.nip.io", "", "[", "@"]
)
def test_other_names_of_this_machine_are_refused(serve, host):
    ask, port = serve()
    assert ask("/state.json", Host=host)[0] == 421
    for right in (f"localhost:{port}", "127.0.0.1", f"[::1]:{port}"):
        assert ask("/state.json", Host=right)[0] == 200


def test_a_token_is_asked_for_everywhere(serve):
    ask, _ = serve(TOKEN)
    for path in ("/", "/page.js", "/page.css", "/state.json", "/nothing"):
        assert ask(path)[0] == 403
        for wrong in ("", TOKEN[:-1], TOKEN + "x", "\u00e9" * 3, TOKEN.upper()):
            assert ask(f"{path}?token={wrong.encode().hex() if not wrong.isascii() else wrong}")[0] == 403
    status, headers, _ = ask(f"/?token={TOKEN}")
    assert status == 200
    assert headers["Set-Cookie"] == f"jensen_watch={TOKEN}; HttpOnly; SameSite=Strict; Path=/"
    assert ask("/state.json", Cookie=f"other=1; jensen_watch={TOKEN}")[0] == 200
    assert ask("/state.json", Authorization=f"Bearer {TOKEN}")[0] == 200
    for cookie in ("jensen_watch=x", "jensen_watch", "=;;=", "a" * 5000):
        assert ask("/state.json", Cookie=cookie)[0] == 403
    assert ask("/state.json", Authorization=f"Basic {TOKEN}")[0] == 403
    assert ask("/state.json", Authorization=f"Bearer {TOKEN}", Host="evil.example")[0] == 421
    assert ask("/state.json", Authorization=f"Bearer {TOKEN}", Host="192.0.2.7:8350")[0] == 200


def test_requests_that_are_none(serve):
    _, port = serve()
    for data in (
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x00\xff" * 50 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert b" 200 " not in answer.split(b"\r\n")[0]
        assert b"Traceback" not in answer


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.scripts, self.addresses = 0, []

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        assert not any(name.startswith("on") or name == "style" for name in names)
        self.scripts += tag == "script" and "src" not in names
        self.addresses += [names[n] for n in ("src", "href") if n in names]


def test_the_page_holds_no_string_of_the_run_and_fetches_from_nowhere_else(serve):
    ask, _ = serve()
    page = Page()
    page.feed(ask("/")[2].decode())
    assert page.scripts == 0
    assert set(page.addresses) == {"page.css", "page.js", "data:,"}
    script = ask("/page.js")[2].decode()
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "new Function", "srcdoc"):
        assert word not in script
    assert "http" not in script.replace("http://www.w3.org/2000/svg", "")
    assert "http" not in ask("/page.css")[2].decode()


def test_a_machine_of_others_needs_a_token():
    assert check_token(None, "127.0.0.1") is check_token(None, "localhost") is check_token(None, "::1") is None
    made = {check_token(None, "0.0.0.0") for _ in range(3)}
    assert len(made) == 3
    assert all(len(token) >= 32 for token in made)
    for bad in ("", "short", "with spaces and so on", "a" * 500, "semi;colon;semi;colon", "line\nline\nline\nline"):
        with pytest.raises(InputError, match="--token must be"):
            check_token(bad, "127.0.0.1")


def test_wrong_commands_are_one_line(tmp_path, capsys, folder):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, words in (
            ([str(tmp_path / "none")], "There is no folder"),
            ([str(tmp_path / "file")], "is a file"),
            ([str(tmp_path / "empty")], "not the folder of a run"),
            ([str(folder), "--port", port], "Cannot listen on 127.0.0.1 port"),
            ([str(folder), "--port", "99999"], "--port must lie"),
            ([str(folder), "--host", "no.such.host.invalid"], "Cannot listen"),
            ([str(folder), "--token", "short"], "--token must be"),
        ):
            assert cli.run(["watch", *arguments]) == 2
            out = capsys.readouterr()
            assert out.out == ""
            assert words in out.err
            assert out.err.count("\n") == 1
