"""What NetWorld is compared with: one readable file an agent."""
