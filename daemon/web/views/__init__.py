"""What the pages show, worked out from what was read. Pure."""
