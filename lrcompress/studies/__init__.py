"""Tables of trained networks: from scratch, and compared rank by rank."""
