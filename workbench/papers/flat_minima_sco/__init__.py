"""Room of flat-minima-sco."""
