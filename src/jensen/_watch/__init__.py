"""`jensen watch`: a live page on a run, for one's own eyes."""

from jensen._watch._command import watch_command
from jensen._watch._server import make_server
from jensen._watch._state import read_state

__all__ = ["make_server", "read_state", "watch_command"]
