"""What a board keeps of its files, so that ten thousand of them are read once."""
