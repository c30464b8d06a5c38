"""Room of normalization-in-sam."""
