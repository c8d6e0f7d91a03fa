"""What is asked: the study with its data, recipe and arms, and every default. Imports nothing heavy."""
