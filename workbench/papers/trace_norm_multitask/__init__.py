"""Room of trace-norm-multitask."""
