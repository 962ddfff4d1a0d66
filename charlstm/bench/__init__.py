"""Benchmarks: how fast this package is here and now, each figure beside a baseline measured in the same run."""
