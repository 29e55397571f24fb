"""Studies of NetWorld: ablations, transfer, fidelity of its world model."""
