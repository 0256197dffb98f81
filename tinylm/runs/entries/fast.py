"""All of shakespeare_fast: Muon, rotary positions, token shift, squared ReLU."""

from tinylm.runs.speedrun import settings

train = settings("shakespeare_fast", steps=1450, every=50)
