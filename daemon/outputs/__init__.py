"""Transcript to files beside the recording."""
