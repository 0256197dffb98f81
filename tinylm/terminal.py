"""Terminal: whether somebody watches the output as it appears, or reads it later in a file."""

import sys


def shows_bars() -> bool:
    """Return whether a progress bar can be shown: in a terminal or a notebook, not in a log file or a pipe.

    tqdm's own rule for this, disable=None, breaks its bar for notebooks, and a notebook's stderr is no
    terminal. So every bar of the package asks here: tqdm(disable=not shows_bars())."""
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())
