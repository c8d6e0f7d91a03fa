"""The steps of the pipeline, one module each: load, scale, train, evaluate, register; and probe, for a plan."""
