"""Benchmarks: the cost of requests, compared with baselines, with growing data, under failures."""
