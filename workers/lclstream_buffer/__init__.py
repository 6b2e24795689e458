"""Buffer: takes in batches from producers, keeps them, and hands them to consumers."""
