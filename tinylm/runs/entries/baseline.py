"""AdamW as in shakespeare_baseline, with more steps."""

from tinylm.runs.speedrun import settings

train = settings("shakespeare_baseline", steps=9600)
