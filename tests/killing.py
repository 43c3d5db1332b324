"""A run that dies right after one of its saves, in this process."""

from jensen._run.checkpoint import Checkpoints


def killed_at_save(monkeypatch, number: int) -> None:
    """Raise `SystemExit` after the save of this number; the first is made before any step."""
    write, done = Checkpoints.save, []

    def save(self, *args):
        write(self, *args)
        done.append(1)
        if len(done) == number:
            raise SystemExit

    monkeypatch.setattr(Checkpoints, "save", save)
