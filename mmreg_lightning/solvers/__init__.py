"""Solvers: a pair of feature maps in, a displacement field out."""
