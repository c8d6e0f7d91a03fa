"""A study's model versions: the gate, the champion and its challenger, and the retraining."""
