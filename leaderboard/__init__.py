"""Results: the file that holds a run, and the table that shows it."""
