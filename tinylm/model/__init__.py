"""model: from tokens to logits. Knows nothing of text or training."""
