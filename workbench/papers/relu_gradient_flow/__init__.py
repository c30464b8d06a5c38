"""Room of relu-gradient-flow: one-hidden-layer ReLU networks on orthogonal inputs (arXiv:2206.00939)."""
