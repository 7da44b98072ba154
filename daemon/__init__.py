"""The service: everything that acts. Folders in, transcripts out."""
