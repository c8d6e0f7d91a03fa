"""One cell: its network, augmentation, training loop, and what was wrong in it."""
