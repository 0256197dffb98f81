"""tinylm: the tested code behind the course. Each notebook builds an idea from nothing, then imports it.

Floors: errors, device; text, model; training; inference; storage; runs; course; cli. Imports go that way."""
