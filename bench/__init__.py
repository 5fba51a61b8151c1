"""Benchmarks of speed and memory against named baselines: python -m bench.index --json"""
