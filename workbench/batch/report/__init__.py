"""The report: what a store holds, on one page."""
