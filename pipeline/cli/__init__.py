"""The command `assay`: parses, calls and prints."""
