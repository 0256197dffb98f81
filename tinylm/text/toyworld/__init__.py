"""toyworld: a small world whose entropy is known exactly and whose texts can be graded."""
