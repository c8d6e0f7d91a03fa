"""What a run looks like in a terminal: its progress and its verdict."""
