"""A paper's parameters, stated once in its card: what they may be, how they relate, the notebook's cell."""
