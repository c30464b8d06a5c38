"""From samples to p-values of conditions, claims and families; `claims.verdict` decides with them."""
