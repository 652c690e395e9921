"""What features are good for, measured: which organs they tell, in which modality, and where their descent leads."""
