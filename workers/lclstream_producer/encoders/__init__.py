"""How a batch is written into a message."""
