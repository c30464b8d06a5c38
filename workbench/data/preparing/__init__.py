"""Splits, augmentation, label noise, domains and sessions."""
