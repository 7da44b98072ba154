"""PCM to transcript, in a process of its own with one shared model."""
