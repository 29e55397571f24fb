"""Task families, one file each. `benchmark.registry` finds them."""
