"""SAM that remembers: ascents, gradients or weights of earlier steps."""
