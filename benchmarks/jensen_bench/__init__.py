"""Benchmarks: one question a module, peers in the same run, ratios. `jensen bench NAME` runs `NAME.main(arguments)`."""
