"""The family `power`."""
