"""Cards, rendered from specs and reports, never typed by hand."""
