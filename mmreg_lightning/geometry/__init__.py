"""Coordinate frames and units, grids, volumes, resampling and transforms, without files."""
