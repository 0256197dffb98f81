"""training: from a model and batches to a better model. Knows nothing of sampling or widgets."""
