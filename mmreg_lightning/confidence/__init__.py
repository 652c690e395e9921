"""How likely a registration is wrong, and where: cues that need no labels, and a calibrated model of them."""
