"""SAM with other ascents: another metric, direction or part of the parameters."""
