"""Statistics of paired trainings, learning curves and metrics: NumPy and SciPy alone, no files, no study."""
