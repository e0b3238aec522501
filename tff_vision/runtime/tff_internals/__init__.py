"""What touches TFF below its public API."""
