"""Training pairs made from label maps: random geometry, random contrasts, random faults of the scanners."""
