"""Confidence of a registration: error cues that need no labels, and a calibrated model of them."""
