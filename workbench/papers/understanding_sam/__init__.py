"""Room of understanding-sam."""
