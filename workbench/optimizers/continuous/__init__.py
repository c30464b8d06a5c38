"""Flows and diffusions with fixed steps, as rules."""
