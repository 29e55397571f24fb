"""The family `power`: power control with queues."""
