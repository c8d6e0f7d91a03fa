"""From the cells of a study to its verdict."""
