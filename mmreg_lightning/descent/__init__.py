"""Supervised iterative descent: the regularised step, its targets from organ labels, and the unrolled losses."""
