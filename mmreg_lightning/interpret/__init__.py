"""What features show: maps and pictures of one image or pair, and measures over a data set."""
