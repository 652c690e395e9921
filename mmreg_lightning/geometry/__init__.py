"""The one owner of coordinate frames, units and file conventions.

``frames`` names the frames, ``grid`` converts between them, ``volume`` is an image on a grid, ``nifti``
reads and writes images, ``resample`` moves images between grids, ``fields`` reads and writes displacement
fields.
"""
