"""tinylm: the tested package behind the course. Each notebook builds an idea, then imports it from here.

Floors import from earlier ones alone: errors, device; text, model; training, inference; storage; runs; course."""
