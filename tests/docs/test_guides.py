"""The code of the documentation runs as it is printed: the Python blocks of a page, in order, in one namespace."""

import re
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SETTINGS = ("jax_enable_x64", "jax_compilation_cache_dir")


def blocks(page):
    text = page.read_text(encoding="utf-8")
    return [(text.count("\n", 0, m.start(1)), m.group(1)) for m in BLOCK.finditer(text)]


@pytest.fixture
def untouched():
    """Settings of JAX that a page may change, as they were before, afterwards."""
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: str(p.relative_to(ROOT)))
@pytest.mark.usefixtures("untouched")
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": page.stem}
    for line, code in blocks(page):
        # blank lines in front make the line numbers of a traceback those of the page
        exec(compile("\n" * line + code, str(page), "exec"), namespace)


def test_every_page_that_shows_python_is_read():
    fences = {p for p in PAGES if "```py" in p.read_text(encoding="utf-8")}
    assert fences == {p for p in PAGES if blocks(p)}
