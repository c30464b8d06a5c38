"""Rules as optimizers of ordinary torch modules."""
