"""Room of swad."""
