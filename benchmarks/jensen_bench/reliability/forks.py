"""Processes that begin where the imports have ended: a server that forks one for each request.

Forking is safe here because nothing was computed before: JAX starts its threads with its first computation.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PATIENCE = 240.0  # seconds after which a child is taken to hang


class Child:
    """A forked process: `kill` it, or `wait` for its answer."""

    def __init__(self, server: "Server", pid: int, answer: Path):
        self.server, self.pid, self.answer = server, pid, answer

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal, if it is still there."""
        os.kill(self.pid, number)  # a zombie until the server has asked for it, hence never another process

    def wait(self) -> int:
        """Its exit status as `os.waitpid` tells it."""
        return int(self.server.ask("wait")["status"])

    def result(self) -> Any:
        """What it computed. Raises `RuntimeError` with its error."""
        status = self.wait()
        told = json.loads(self.answer.read_text()) if self.answer.exists() else {"error": "no answer"}
        if status != 0 or "error" in told:
            raise RuntimeError(f"child ended with status {status}: {told.get('error')}")
        return told["result"]


class Server:
    """The process that forks, one child at a time; `with Server() as server: server.start("perform", name, folder)`."""

    def __init__(self, environment: dict[str, str] | None = None):
        self._folder = tempfile.TemporaryDirectory()
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"} | (environment or {}),
            text=True,
        )

    def ask(self, what: str, **more: Any) -> dict[str, Any]:
        """One request and its answer. Raises `RuntimeError` if the server has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"what": what, **more}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the fork server has ended")
        return json.loads(line)

    def start(self, task: str, *arguments: str) -> Child:
        """Begin one of `TASKS` in a process of its own."""
        self._count += 1
        answer = Path(self._folder.name) / f"{self._count}.json"
        pid = self.ask("fork", task=task, arguments=arguments, answer=str(answer))["pid"]
        return Child(self, pid, answer)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._folder.cleanup()


def _perform(name: str, folder: str) -> str:
    from jensen_bench.reliability.cases import perform

    return perform(name, Path(folder) if folder else None)


def _command(*arguments: str) -> int:
    from jensen.cli import run

    return run(list(arguments))


def _hold(folder: str, ready: str) -> None:
    from jensen._run.lock import Lock

    lock = Lock(Path(folder))
    Path(ready).touch()
    time.sleep(PATIENCE)
    lock.release()


TASKS = {"perform": _perform, "command": _command, "hold": _hold}


def _child(task: str, arguments: list[str], answer: Path) -> None:
    """Do the task and end, by no other way than this: what the server holds must not be flushed twice."""
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(2, 1)  # standard output belongs to the server's answers
    told: dict[str, Any]
    try:
        told = {"result": TASKS[task](*arguments)}
    except BaseException as error:
        told = {"error": f"{type(error).__name__}: {error}"}
    answer.write_text(json.dumps(told))
    sys.stdout.flush()
    os._exit(0)


def _serve() -> None:
    import jax

    import jensen.vae  # noqa: F401  all that children would import, before the first fork
    import jensen_bench.reliability.cases
    from jensen import _ladder, algorithms, certificate, targets  # noqa: F401

    assert jensen_bench
    jax.config.update("jax_enable_x64", os.environ.get("JAX_ENABLE_X64", "1") not in ("0", "false"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    pid = 0
    for line in sys.stdin:
        request = json.loads(line)
        if request["what"] == "fork":
            pid = os.fork()
            if pid == 0:
                _child(request["task"], request["arguments"], Path(request["answer"]))
            print(json.dumps({"pid": pid}), flush=True)
        else:
            print(json.dumps({"status": _reaped(pid)}), flush=True)


def _reaped(pid: int) -> int:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -1


if __name__ == "__main__":
    _serve()
