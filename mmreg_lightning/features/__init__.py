"""Feature extractors: an image of a named modality in, feature maps on a coarser grid out."""
