"""storage: bytes and names: files that arrive whole, weights, training checkpoints. Knows nothing of text."""
