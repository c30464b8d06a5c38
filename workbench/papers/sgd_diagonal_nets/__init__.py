"""Room of sgd-diagonal-nets: what gradient noise does to the implicit bias of diagonal networks (arXiv:2106.09524)."""
