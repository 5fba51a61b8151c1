"""Fuzzing of everything that the software reads: `python -m tests.fuzz.campaign --count 1000000`.

A family is one kind of input: seeds made by real code, and the reader that gets mutated copies of
them. An input follows from (family, number), so that one command repeats a finding.
"""
