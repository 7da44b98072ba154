"""The GPUs: read in a process of their own, seen from here as readings."""
