"""Who is told of alerts and ended jobs, when, in which words, and how it gets there."""
