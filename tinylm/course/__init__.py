"""course: what exists for a reader. Only notebooks import it (and `python -m tinylm lab` the workbook).

checks (with compare), figures (plots, heatmaps, pictures), widgets (with pages), scale, workbook.
"""
