"""Weights & Biases: what a training tells it, and how a training goes on without it."""
