"""Room of sde-for-sam: stochastic differential equations of USAM, DNSAM and SAM (arXiv:2301.08203)."""
