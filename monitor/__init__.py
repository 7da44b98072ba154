"""Sampling of CPU, memory and GPU. Knows nothing of the daemon: what it watches comes in as callables."""
