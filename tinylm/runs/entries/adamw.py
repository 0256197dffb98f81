"""AdamW with four times the rate, and linearly to zero."""

from tinylm.runs.speedrun import settings

train = settings(
    "shakespeare_baseline",
    steps=7400,
    learning_rate=4e-3,
    min_learning_rate=0.0,
    schedule="linear",
    weight_decay=0.0,
)
