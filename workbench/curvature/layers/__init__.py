"""What knows modules: derivatives layer by layer, for networks whose structure is proven."""
