"""SAM with other samples for the ascent or for the step."""
