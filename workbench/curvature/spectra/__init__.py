"""Eigenvalues of the Hessian: all, some, their density, their sums, and where the outliers come from."""
