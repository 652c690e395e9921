"""What features show: maps of an image or pair, and measures over a data set."""
