"""NumPyro effect handlers for guides; import this module lazily, it imports NumPyro."""

from collections.abc import Callable
from typing import Any

from numpyro.distributions import biject_to, constraints
from numpyro.primitives import Messenger

from jensen.core import InputError


class Guide(Messenger):
    """Sets parameters to the constrained values of `parameters`, and sample sites to `choose(name, fn, infer)`."""

    def __init__(self, fn: Any, parameters: dict[str, Any], choose: Callable[[str, Any, dict[str, Any]], Any]):
        self.parameters, self.choose = parameters, choose
        super().__init__(fn)

    def process_message(self, msg: Any) -> None:
        if msg["type"] == "param" and msg["name"] in self.parameters:
            constraint = msg["kwargs"].get("constraint", constraints.real)
            msg["value"] = biject_to(constraint)(self.parameters[msg["name"]])
        elif msg["type"] == "sample" and msg["value"] is None:
            msg["value"] = self.choose(msg["name"], msg["fn"], msg["infer"])


def refuse(msg: Any) -> None:
    """Raises `InputError` for what a guide must not do: observe, weigh (factor), scale or subsample."""
    name = msg["name"]
    if msg["type"] == "sample" and msg["is_observed"]:
        raise InputError(f"The guide observes at site {name!r}: observations and factors belong to the model")
    if msg["type"] == "plate" and msg["args"][1] is not None and msg["args"][1] != msg["args"][0]:
        raise InputError(f"The guide subsamples plate {name!r}: give it all rows")
    if msg["type"] == "sample" and msg.get("scale") is not None:
        raise InputError(f"Site {name!r} of the guide is scaled: its density would not be that of its draws")
