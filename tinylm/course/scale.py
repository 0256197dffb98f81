"""Scale: one environment variable, TINYLM_SCALE, resizes the live run of a notebook.

small, the default, ends within seconds, medium takes about ten minutes on a laptop, full needs a GPU.
Explained in notebook 00_start_here."""

import os
from typing import Any

from tinylm.errors import ConfigError


def pick(*, small: Any, medium: Any, full: Any) -> Any:
    """Return the value for the scale in TINYLM_SCALE. Raises ConfigError if that is no scale."""
    values = {"small": small, "medium": medium, "full": full}
    name = os.environ.get("TINYLM_SCALE", "").strip().lower() or "small"
    if name not in values:
        raise ConfigError(f'TINYLM_SCALE is "{name}": set it to small, medium or full')
    return values[name]
