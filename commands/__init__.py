"""What the commands do, a file a noun."""
