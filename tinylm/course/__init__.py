"""course: what exists for a reader: exercises, plots, widgets. Only notebooks import it."""
