"""Flat minima, sharpness-aware minimisation and implicit bias: papers whose claims are measured."""
