"""The command: checks at the door, then serves until it is interrupted."""

import re
import secrets
from pathlib import Path

from jensen._watch._server import is_loopback, make_server
from jensen.core import InputError
from jensen.core.files import PROGRESS

MIN_TOKEN = 16


def watch_command(folder: str, host: str, port: int, token: str | None) -> int:
    """Serve the page on the run in `folder` until Ctrl-C. Raises `InputError` for whatever cannot be served."""
    place = check_run(folder)
    token = check_token(token, host)
    if not 0 <= port < 2**16:
        raise InputError(f"--port must lie between 0 and 65535, got {port}")
    try:
        server = make_server(place, host, port, token)
    except OSError as error:
        raise InputError(
            f"Cannot listen on {host} port {port}: {error.strerror or error}. Choose another with --port, or --port 0"
        ) from error
    shown = f"[{host}]" if ":" in host else "127.0.0.1" if host == "0.0.0.0" else host
    query = f"?token={token}" if token else ""
    print(f"Watching {place}: http://{shown}:{server.server_address[1]}/{query} (Ctrl-C ends it)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
    return 0


def check_run(folder: str) -> Path:
    """The folder of a run. Raises `InputError` where it is missing or not that of a run."""
    place = Path(folder)
    if not place.exists():
        raise InputError(f"There is no folder {folder}: give the one that --out or checkpoint= names")
    if not place.is_dir():
        raise InputError(f"{folder} is a file: give the folder of a run")
    if not (place / PROGRESS).is_file():
        raise InputError(
            f"{folder} is not the folder of a run: it has no {PROGRESS}, which jensen fit --out and "
            "run(checkpoint=...) write"
        )
    return place


def check_token(token: str | None, host: str) -> str | None:
    """The token to ask for: as given, made up where `host` is not this machine itself, else none."""
    if token is None:
        return None if is_loopback(host) else secrets.token_urlsafe(24)
    if not re.fullmatch(rf"[A-Za-z0-9_-]{{{MIN_TOKEN},200}}", token):
        raise InputError(f"--token must be {MIN_TOKEN} to 200 letters, digits, '-' and '_'; left out, it is made up")
    return token
