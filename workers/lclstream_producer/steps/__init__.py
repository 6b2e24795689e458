"""What is done to each event."""
