"""text: from a file to (tokens, targets). Knows nothing of models."""
