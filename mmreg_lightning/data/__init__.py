"""Data: folders in Learn2Reg layout, pairs, the cache of prepared images, paired patches and perturbations."""
