"""What `progress=` may be."""

import sys
from typing import Any

from jensen.core import InputError
from jensen.progress._bar import Bar
from jensen.progress._moment import Progress, Silent


def listener(wanted: Any) -> Progress:
    """A bar for True, and for None on a terminal; nothing for False; an object that fulfils `Progress` as it is.

    Raises `InputError` for anything else.
    """
    if wanted is None:
        wanted = sys.stderr.isatty()
    if isinstance(wanted, bool):
        return Bar() if wanted else Silent()
    if isinstance(wanted, type) or not isinstance(wanted, Progress):
        raise InputError(
            f"progress must be True, False, None, or an object with update, certified and close, got {wanted!r}: see "
            "jensen.progress.Progress"
        )
    return wanted
