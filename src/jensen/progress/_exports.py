"""Progress to the tools of others, by their own libraries."""

import importlib
import math
from pathlib import Path
from typing import Any

from jensen.core import Certificate, InputError
from jensen.progress._moment import Moment


class TensorBoard:
    """Scalars of each run for TensorBoard, in the folder `logdir`, by the library tensorboardX.

    `N-ALGORITHM/objective`, `/residual`, `/steps_per_second` and `/memory_gigabytes` against steps, notes as texts; of
    certificates the verdict (1 or 0), k-hat, the effective draws and the ELBO against the number of the run.

    Raises `InputError` where tensorboardX is not installed: `pip install 'jensen[tensorboard]'`.
    """

    def __init__(self, logdir: str | Path):
        try:
            library: Any = importlib.import_module("tensorboardX")
        except ImportError as error:
            raise InputError("TensorBoard needs the library tensorboardX: pip install 'jensen[tensorboard]'") from error
        self.writer, self.number, self.notes = library.SummaryWriter(str(logdir)), 1, 0

    def update(self, moment: Moment) -> None:
        name = f"{self.number}-{moment.run}"
        memory = None if moment.memory is None else moment.memory / 1e9
        values = {
            "objective": moment.objective,
            "residual": moment.residual,
            "steps_per_second": moment.rate,
            "memory_gigabytes": memory,
        }
        for what, value in values.items():
            if value is not None and math.isfinite(value):
                self.writer.add_scalar(f"{name}/{what}", value, moment.step)
        for note in moment.notes[self.notes :]:
            self.writer.add_text(f"{name}/notes", note, moment.step)
        self.notes = len(moment.notes)

    def certified(self, run: str, certificate: Certificate) -> None:
        numbers = {name: getattr(certificate, name) for name in ("khat", "ess", "elbo")}
        for what, value in ({"passed": float(certificate.passed)} | numbers).items():
            if value is not None and math.isfinite(value):
                self.writer.add_scalar(f"certificate/{what}", value, self.number - 1)
        self.writer.flush()

    def close(self) -> None:
        self.writer.flush()
        self.number, self.notes = self.number + 1, 0
