"""Sweeps: what each run of a multirun leaves behind, and the table that is made of them."""
