"""The same work through us and through peers, in one run."""
