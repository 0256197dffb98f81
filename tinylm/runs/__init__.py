"""runs: the one place where text, model, training, storage and inference meet."""
