"""Room of personalized-collaborative."""
