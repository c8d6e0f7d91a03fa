"""What a saved model is, and how it answers raw rows."""
