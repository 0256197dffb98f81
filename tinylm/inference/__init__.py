"""inference: from a trained model to text and numbers. Knows nothing of optimisers."""
