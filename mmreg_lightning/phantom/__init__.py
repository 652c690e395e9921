"""Procedural abdomen phantom: CT and MR of random subjects with exact labels and correspondences.

``subject.make_subject`` computes one subject in memory, ``dataset.write_phantom`` writes a folder in Learn2Reg layout.
"""
