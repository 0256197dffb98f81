"""tinylm: the tested package behind the course. Each notebook builds an idea, then imports it from here.

Its floors, each of which imports only from those before it: errors, device; text and model, which do not know
each other; training and inference; storage; runs; course; cli."""
