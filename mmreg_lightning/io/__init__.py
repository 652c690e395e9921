"""Reading and writing of all file formats: images, points, transforms and displacement fields, in RAS+ order."""
