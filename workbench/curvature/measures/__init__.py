"""How much the loss rises around a point: sharpness in its senses, worst and average cases, and planes between solutions."""
