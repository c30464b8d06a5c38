"""What a job reads, starts and holds while it runs."""
