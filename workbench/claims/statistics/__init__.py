"""From samples to two one-sided p-values: one procedure per statistic.

Numbers of what each procedure keeps (wrong verdicts by law and number of seeds) are in docs/court.md; `benchmarks/court.py`
measures them. Samples are one-dimensional arrays, one entry per seed; for a comparison of two methods they are paired
differences (or ratios) of runs with the same seed. `scipy.special` rather than `scipy.stats`, whose import takes longer
than a whole scoreboard. Nothing here draws random numbers.
"""
