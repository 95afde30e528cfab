"""Training a folding network: batches, losses, the loop, and run folders that can be resumed."""
