"""NetWorld: a communication-based diffusion world model for multi-agent control (after arXiv 2602.00558)."""
