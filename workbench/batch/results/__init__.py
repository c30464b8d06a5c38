"""Finished jobs: the store, and its results as one labelled array."""
