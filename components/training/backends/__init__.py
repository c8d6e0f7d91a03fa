"""What computes the training of networks: a program for each backend."""
