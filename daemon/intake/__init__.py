"""Folders to jobs."""
