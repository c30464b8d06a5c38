"""Eigenvalues along training: every evaluation starts from the last one's vectors."""
