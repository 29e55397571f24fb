"""NetWorld that goes on learning from its own play in the train variants."""
