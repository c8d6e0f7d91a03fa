"""What the commands do that run no study."""
