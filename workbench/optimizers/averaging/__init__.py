"""Averages of weights along a run."""
