"""How far a result holds: its form, its arithmetic, its episodes."""
