"""Scale: one switch, TINYLM_SCALE, resizes the live run of a notebook.

small ends within the notebook's seconds (the default), medium takes some ten minutes on a laptop, full wants
a GPU. Explained in notebook 00_start_here."""

import os
from typing import Any

from tinylm.errors import ConfigError


def pick(*, small: Any, medium: Any, full: Any) -> Any:
    """The value for the scale in force. Raises ConfigError where TINYLM_SCALE names no scale."""
    values = {"small": small, "medium": medium, "full": full}
    name = os.environ.get("TINYLM_SCALE", "").strip().lower() or "small"
    if name not in values:
        raise ConfigError(f'TINYLM_SCALE is "{name}", which is no scale: use small, medium or full')
    return values[name]
