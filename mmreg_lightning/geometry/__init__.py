"""Frames, grids, volumes, resampling and transforms: the one owner of coordinate frames and units, without files."""
