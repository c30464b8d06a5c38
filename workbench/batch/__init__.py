"""Reruns: grids of jobs, the papermill engine, workers, the run store, provenance and the report."""
