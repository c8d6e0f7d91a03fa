"""What people read of a verdict: sentences, tables, figures, and the page."""
