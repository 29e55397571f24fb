"""Pure functions for channels, traffic and queues, each with its source."""
