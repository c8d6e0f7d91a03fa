"""A study's runs in MLflow: made, filled, and read again."""
