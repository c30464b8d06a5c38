"""The workbench against its peers, side by side, in one run: `python -m benchmarks [NAME ...]`.

Each `bench_<name>.py` has a one-line docstring (the section's title) and `rows() -> list[dict[str, object]]`, one dict per
table row. `measure.compare` times contenders in alternating order and returns medians.
"""
