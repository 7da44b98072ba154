"""Who runs in the benchmarks: our engine and its peers, each behind the same door, each in a process of its own."""
