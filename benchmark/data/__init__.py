"""Offline data: schema, collection, loading, windows."""
