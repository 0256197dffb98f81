"""cli: what can be typed after python -m tinylm."""
