"""How far long work has come: what the loop tells, and who may listen (`progress=` of `run`, `fit` and the rest)."""

from jensen.progress._bar import Bar
from jensen.progress._exports import TensorBoard
from jensen.progress._jsonl import FILE, JsonLines
from jensen.progress._listening import listener
from jensen.progress._moment import Moment, Progress, Several, Silent, Teller

__all__ = ["FILE", "Bar", "JsonLines", "Moment", "Progress", "Several", "Silent", "Teller", "TensorBoard", "listener"]
