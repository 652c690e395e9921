"""Measures of a registration: overlap (``dice``), landmarks (``tre``) and regularity (``jacobian``)."""
