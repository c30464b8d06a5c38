"""How steps are repeated: eagerly, traced, compiled."""
