"""Figures and alerts on the disk. Knows nothing of what they mean."""
