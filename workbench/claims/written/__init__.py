"""What a card says: its models, the regions of its conditions, whether its seeds can decide them."""
