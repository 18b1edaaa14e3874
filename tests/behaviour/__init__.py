"""What the broker promises beyond the statements of the standards, one file for each promise."""
