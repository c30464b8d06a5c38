"""Verdicts in words, as text and as HTML: the one place where their wording and colours stand."""
