"""Room of eigenvalue-filtering."""
