"""Room of deep-matrix-factorization: exact sharpness at every minimiser of a deep linear network (arXiv:2509.25783)."""
