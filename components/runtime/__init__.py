"""What every running step shares: events, devices, checkpoints, and the store of finished cells."""
