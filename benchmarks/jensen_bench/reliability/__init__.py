"""Does anything get lost when processes are killed, and what does a checkpoint cost?

A section a module, each with `section(short) -> str`, Markdown that ends in a table. `make reliability` runs the long
forms (25 kills each) and prints the whole; the tests run short ones. Add a section by adding its module to `SECTIONS`.
"""

import importlib
import sys
import time
from collections.abc import Sequence

SECTIONS = ("kills", "damage", "cost")


def main(arguments: Sequence[str] = ()) -> int:
    """Print the sections named in `arguments`, all if none is; `--short` for the form that the tests run."""
    names = [name for name in arguments if name != "--short"] or SECTIONS
    for name in names:
        if name not in SECTIONS:
            print(f"No section {name!r}: there are {', '.join(SECTIONS)}", file=sys.stderr)
            return 2
    for name in names:
        began = time.process_time()
        print(importlib.import_module(f"{__name__}.{name}").section("--short" in arguments), flush=True)
        print(f"\n(section {name}: {time.process_time() - began:.0f} s of CPU in this process)\n", flush=True)
    return 0
