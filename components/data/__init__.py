"""From the user's rows to prepared, split and encoded rows."""
