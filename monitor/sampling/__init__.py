"""One sample: the machine, our processes, and what others say of themselves."""
