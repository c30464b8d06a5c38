"""SAM whose step mixes the gradient here with gradients at displaced points."""
