"""Scale: one switch, TINYLM_SCALE, resizes the live run of a notebook.

small ends within the notebook's seconds (the default), medium takes some ten minutes on a laptop,
full wants a GPU. It refuses to know what is being resized.
Taught in notebook 00_start_here.
"""

import os
from typing import TypeVar

from tinylm.errors import TinyLMError

T = TypeVar("T")

SCALES = ("small", "medium", "full")


class ScaleError(TinyLMError):
    """TINYLM_SCALE names a scale that does not exist."""


def current() -> str:
    """The scale in force: TINYLM_SCALE, or "small" where it is not set. Raises ScaleError."""
    name = os.environ.get("TINYLM_SCALE", "").strip().lower() or "small"
    if name not in SCALES:
        raise ScaleError(f'TINYLM_SCALE is "{name}", which is no scale: use small, medium or full')
    return name


def pick(*, small: T, medium: T, full: T) -> T:
    """The value for the scale in force, e.g. `steps = pick(small=200, medium=2_000, full=5_000)`."""
    return {"small": small, "medium": medium, "full": full}[current()]
