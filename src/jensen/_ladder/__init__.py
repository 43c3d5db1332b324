"""The autopilot: a ladder of algorithms, from cheap to dear, that stops at the first certificate that holds."""

from jensen._ladder.autopilot import about, fit
from jensen._ladder.judging import judge
from jensen._ladder.rungs import LADDER
from jensen._ladder.state import Ascent, Attempt, Rung

__all__ = ["LADDER", "Ascent", "Attempt", "Rung", "about", "fit", "judge"]
