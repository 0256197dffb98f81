"""What exists for a reader: checks of exercises, figures, widgets, and the learner's own notebooks.

Imported by notebooks, and by the command line for `python -m tinylm lab` and `doctor`."""
