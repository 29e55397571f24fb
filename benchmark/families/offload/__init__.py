"""The family `offload`: edge computing with queues."""
