"""A fitted autoencoder in one file of plain arrays and JSON: loading executes nothing."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen.core import History, InputError, StorageError
from jensen.core._pack_posterior import check_sizes
from jensen.core.files import pack_arrays, read_arrays, write_atomic
from jensen.vae import likelihoods
from jensen.vae._build import build, chosen_prior
from jensen.vae.likelihoods import Likelihood

FORMAT, VERSION = "jensen-vae", 1
PLAIN = (int, float, str, bool, type(None))
OF_THE_FIT = ("objective", "checkpoint", "random_state", "progress")  # settings that a fitted model does not need


def save(vae: Any, path: Path, overwrite: bool) -> Path:
    """Write the fitted `vae`. Raises `InputError` for parts without a name, `StorageError` as the system does."""
    if path.exists() and not overwrite:
        raise StorageError(f"{path} exists: choose another file, or overwrite it (overwrite=True)")
    settings = {name: value for name, value in vae.get_params(deep=False).items() if name not in OF_THE_FIT}
    if not isinstance(settings["prior"], str):
        raise InputError(f"A VAE with a prior of its own ({type(vae.prior).__name__}) is not saved: take one by name")
    if type(vae.likelihood_).__name__ not in likelihoods.__all__:
        raise InputError(f"A VAE with a likelihood of its own ({type(vae.likelihood_).__name__}) is not saved")
    settings["likelihood"] = "auto" if isinstance(vae.likelihood, Likelihood) else vae.likelihood
    header = {
        "format": FORMAT,
        "version": VERSION,
        "settings": {name: _plain(name, value) for name, value in settings.items()},
        "columns": int(vae.n_features_in_),
        "names": [str(name) for name in getattr(vae, "feature_names_in_", [])],
        "likelihood": {"class": type(vae.likelihood_).__name__, "fields": _static(vae.likelihood_)},
        "steps": int(vae.n_iter_),
    }
    arrays = {f"part/{i}": np.asarray(leaf) for i, leaf in enumerate(_leaves((vae.model_, vae.conditional_)))}
    arrays |= {"centre": vae._centre, "spread": vae._spread}
    arrays |= {"objective": vae.history_.objective, "residual": vae.history_.residual}
    arrays |= {f"scalar/{name}": np.asarray(values) for name, values in vae.history_.scalars.items()}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    write_atomic(path, pack_arrays(arrays))
    return path


def load(make: Any, path: Path) -> Any:
    """The autoencoder in `path`. Raises `StorageError` for a file that is missing, truncated or foreign."""
    arrays = read_arrays(path)
    try:
        header = json.loads(arrays["header"].tobytes().decode())
        if header["format"] != FORMAT or header["version"] > VERSION:
            raise ValueError(f"format {header['format']!r} {header['version']}, this Jensen reads {FORMAT} {VERSION}")
        vae = make(**{name: _whole(value) for name, value in header["settings"].items()})
        _fill(vae, header, arrays)
    except Exception as error:  # plain data of the wrong kind fails in as many ways as there are parts to rebuild
        words = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise StorageError(f"{path} is no saved VAE of Jensen, or was damaged ({words}): save it again") from error
    return vae


def _fill(vae: Any, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    columns, kind = int(header["columns"]), header["likelihood"]
    if kind["class"] not in likelihoods.__all__:
        raise ValueError(f"unknown likelihood {kind['class']!r}")
    with jax.enable_x64(True):
        if kind["class"] == "Gaussian":
            likelihood: Any = likelihoods.gaussian(trained=kind["fields"]["trained"])
        else:
            likelihood = getattr(likelihoods, kind["class"])(**kind["fields"])
        key = jax.random.key(0)
        image = None if vae.image_shape is None else tuple(vae.image_shape)
        sizes = tuple(vae.hidden), image, tuple(vae.channels)
        entries = sum(a.size for name, a in arrays.items() if name.startswith("part/"))
        check_sizes(
            [columns, *map(list, (sizes[0], image or (), sizes[2])), vae.latent_dim, vae.num_components], entries
        )

        def untrained() -> Any:
            prior = chosen_prior(key, vae.prior, vae.latent_dim, vae.num_components)
            return build(key, np.zeros((2, columns)), likelihood, prior, vae.posterior, *sizes)

        # Shapes first: settings of another network than the arrays' could ask for more memory than there is.
        leaves = jax.tree.leaves(eqx.filter(eqx.filter_eval_shape(untrained), _has_shape))
        saved = [arrays.get(f"part/{i}") for i in range(len(leaves))]
        for old, new in zip(leaves, saved, strict=True):
            if new is None or new.shape != old.shape or f"part/{len(leaves)}" in arrays:
                raise ValueError("its arrays are of another architecture than its settings say")
        parts = untrained()
        tree = jax.tree.structure(eqx.filter(parts, eqx.is_array))
        made = jax.tree.unflatten(tree, [jnp.asarray(a) for a in saved])
        vae.model_, vae.conditional_ = eqx.combine(made, eqx.filter(parts, eqx.is_array, inverse=True))
    vae.likelihood_ = vae.model_.likelihood
    vae._centre, vae._spread = arrays["centre"], arrays["spread"]
    scalars = {name.removeprefix("scalar/"): a for name, a in arrays.items() if name.startswith("scalar/")}
    vae.history_ = History(arrays["objective"], arrays["residual"], scalars)
    vae.n_iter_, vae.n_features_in_, vae._n_features_out = int(header["steps"]), columns, int(vae.latent_dim)
    if header["names"]:
        vae.feature_names_in_ = np.asarray(header["names"], object)


def _has_shape(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


def _leaves(tree: Any) -> list[Any]:
    return jax.tree.leaves(eqx.filter(tree, eqx.is_array))


def _static(likelihood: Any) -> dict[str, Any]:
    fields = {f.name: getattr(likelihood, f.name) for f in dataclasses.fields(likelihood)}
    return {name: value for name, value in fields.items() if isinstance(value, PLAIN)}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, tuple | list):
        return [_plain(name, part) for part in value]
    if not isinstance(value, PLAIN):
        raise InputError(f"The setting {name} ({type(value).__name__}) is not plain data, and cannot be saved")
    return value


def _whole(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
