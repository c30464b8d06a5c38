"""Linear models and sparse regression."""
