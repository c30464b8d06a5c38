"""Room of sequential-closeness-testing."""
