"""Every file format: images, points, transforms and displacement fields. Arrays come and go in RAS+ order."""
