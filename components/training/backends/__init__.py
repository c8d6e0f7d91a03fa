"""What computes the training: a program for each backend, and for what is no network."""
