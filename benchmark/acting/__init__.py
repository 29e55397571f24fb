"""Acting from Python: environments and policies for a loop of one's own, recordings of it, logs of a network."""
