"""Where a study runs: as processes of this machine, in containers, or on a cluster."""
