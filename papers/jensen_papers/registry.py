"""The register: every paper that the library answers to, and those whose claims can be measured."""

import dataclasses
import functools
import importlib
import importlib.resources
import json
from pathlib import Path

from jensen_papers.result import Result

IMPLEMENTED = {"P031": ("forward-backward", "jensen_papers.vi.forward_backward")}


@dataclasses.dataclass(frozen=True)
class Paper:
    """A paper: its identifier, title, topic, what the library makes of it, and the slug of its reproduction or None."""

    id: str
    title: str
    topic: str
    verdict: str
    slug: str | None


@functools.cache
def papers() -> tuple[Paper, ...]:
    """All papers, in the order of their identifiers."""
    text = importlib.resources.files("jensen_papers").joinpath("rows.json").read_text(encoding="utf-8")
    return tuple(Paper(**row, slug=IMPLEMENTED.get(row["id"], (None,))[0]) for row in json.loads(text))


def rows() -> list[dict[str, str | None]]:
    """All papers as plain data: dicts with keys id, title, topic, verdict and slug."""
    return [dataclasses.asdict(paper) for paper in papers()]


def find(slug: str) -> Paper:
    """The paper of this slug or identifier.

    Raises `UnknownName` if there is none, `InputError` if its claims cannot be measured yet.
    """
    for paper in papers():
        if slug in (paper.slug, paper.id):
            if paper.slug is None:
                from jensen.core import InputError

                raise InputError(f"The claims of {paper.id} ({paper.title}) are not measured by this version")
            return paper
    from jensen.core import UnknownName

    raise UnknownName("paper", slug, [paper.slug for paper in papers() if paper.slug])


def reproduce(slug: str, full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims of a paper, on the authors' scale if `full`; write a figure to the file `figure` if given.

    Raises `UnknownName` for a slug that is none.
    """
    paper = find(slug)
    return importlib.import_module(IMPLEMENTED[paper.id][1]).reproduce(full=full, figure=figure)
