"""What papers/<slug>/court.json keeps: seals of claims and the last audit on fresh seeds and under controls."""
