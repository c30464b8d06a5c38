"""A continuized view on Nesterov acceleration (arXiv:2106.07644): exact moments, bounds, simulation, gossip."""
