"""Stage 06: the scores of the blends, their ladder, and what they promise for other products."""
