"""The family `offload`."""
