"""Calibration of a confidence on labelled pairs, and its test on others."""
