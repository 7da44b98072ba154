"""Recordings that come over the web: received in pieces, and put into a folder like any other file."""
