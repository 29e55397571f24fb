"""The family `handover`."""
