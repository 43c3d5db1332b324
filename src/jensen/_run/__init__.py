"""The one loop: a compiled chunk and its driver; and runs inside a program."""

from jensen._run.ahead import prepare
from jensen._run.devices import local_mesh
from jensen._run.driver import drive
from jensen._run.inside import run_inside, until_stopped
from jensen._run.interleaved import run_interleaved
from jensen._run.run import run
from jensen._run.stop import Plateau
from jensen._run.work import Outcome

__all__ = [
    "Outcome",
    "Plateau",
    "drive",
    "local_mesh",
    "prepare",
    "run",
    "run_inside",
    "run_interleaved",
    "until_stopped",
]
