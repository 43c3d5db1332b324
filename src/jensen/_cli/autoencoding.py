"""`jensen vae`: an array in, a trained variational autoencoder and its report out."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from jensen._cli.setup import configure
from jensen.core import InputError
from jensen.core.files import pack_arrays, read_arrays, write_atomic

ROWS, TEST = ("X", "x_train", "X_train", "train"), ("X_test", "x_test", "test")
TESTED, CERTIFIED = 1000, 200  # rows whose bound is reported, and whose posterior is looked at one by one
RESULTS, REPORT, TRAINING = "results.npz", "report.html", "training"


def vae_command(data: str, out: str, latent: int, likelihood: str, epochs: int, seed: int, overwrite: bool) -> int:
    """Check all, train, show, write. Returns the exit code: 0 also where SIGTERM stopped it and the work is saved."""
    from jensen._cli.fitting import check_seed, say_stopped

    check_seed(seed)
    folder = _folder(Path(out), overwrite)
    train, test, shape = load_rows(Path(data))
    configure()
    from jensen._run.signals import watched
    from jensen.vae import VAE

    if likelihood == "auto" and not np.all(np.isin(train, (0, 1))) and train.min() >= 0 and train.max() <= 1:
        likelihood = "continuous_bernoulli"
    with watched() as watch:
        vae = VAE(
            latent,
            likelihood=likelihood,
            epochs=epochs,
            random_state=seed,
            checkpoint=folder / TRAINING,
            progress=None,
        ).fit(train)
        if watch.asked:
            return say_stopped(folder / TRAINING, folder)
    return _write(vae, folder, train, test, shape)


def _folder(folder: Path, overwrite: bool) -> Path:
    """The folder, if it can be written to: new, empty, left by a run that was stopped, or to be replaced."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: choose a folder")
    names = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
    foreign = names - {RESULTS, REPORT, TRAINING}
    if foreign:
        raise InputError(f"{folder} holds other files ({', '.join(sorted(foreign)[:3])}): choose a new folder")
    if REPORT in names and not overwrite:
        raise InputError(f"{folder} already holds a result: choose another folder, or add --overwrite")
    if REPORT in names:
        shutil.rmtree(folder / TRAINING, ignore_errors=True)
    return folder


def load_rows(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Training rows and test rows, flat, and the shape of a row. A tenth is held out where the file has no test rows.

    Raises `InputError` for a file without rows of numbers, or rows of different shapes; `StorageError` for none.
    """
    arrays = {name: a for name, a in read_arrays(path).items() if a.ndim >= 2 and a.dtype.kind in "fiub"}
    named = [name for name in ROWS if name in arrays] or [name for name in arrays if name not in TEST]
    if not named or (named[0] not in ROWS and len(named) > 1):
        found = ", ".join(f"{name} {a.shape}" for name, a in arrays.items()) or "none"
        raise InputError(f"{path} must hold rows of numbers under the name X; its arrays with rows are: {found}")
    rows = _plain(arrays[named[0]])
    tests = [name for name in TEST if name in arrays]
    if tests:
        test = _plain(arrays[tests[0]])
        if test.shape[1:] != rows.shape[1:]:
            raise InputError(f"Rows of {named[0]} have shape {rows.shape[1:]}, those of {tests[0]} {test.shape[1:]}")
    else:
        order = np.random.default_rng(0).permutation(len(rows))
        held = max(1, len(rows) // 10)
        rows, test = rows[order[held:]], rows[order[:held]]
    return rows.reshape(len(rows), -1), test.reshape(len(test), -1), rows.shape[1:]


def _plain(a: np.ndarray) -> np.ndarray:
    """As real numbers; numbers of 8 bits that are not just 0 and 1 become shares of 255."""
    grey = a.dtype == np.uint8 and a.max() > 1
    return a.astype(float) / 255 if grey else a.astype(float)


def _write(vae: Any, folder: Path, train: np.ndarray, test: np.ndarray, shape: tuple[int, ...]) -> int:
    from jensen.report.autoencoder import render

    shown = test[:TESTED]
    bounds = vae.score_samples(shown)
    use = vae.latent_use(shown, 500) if len(shown) > 1 else None
    judged = vae.certify(shown[:CERTIFIED])
    error = float(np.std(bounds) / np.sqrt(len(bounds)))
    results = {"bound": bounds, "latents": vae.transform(test), "samples": vae.sample(64), "khat": judged.khat}
    write_atomic(folder / RESULTS, pack_arrays(results))
    write_atomic(folder / REPORT, render(vae, train, shown, shape, bounds, use, judged).encode())
    per_step = -vae.history_.objective[-1] / len(train)
    print(f"test bound {np.mean(bounds):.3f} +- {error:.3f} nats a row ({vae.num_draws} weights, {len(shown)} rows)")
    print(f"{vae.n_iter_} steps, last training bound {per_step:.3f}, active units {use.active_units if use else '-'}")
    print(f"posteriors of {len(judged.khat)} rows: k-hat at worst {judged.worst:.2f}, above 0.7 in {judged.share:.1%}")
    print(folder / REPORT)
    return 0
