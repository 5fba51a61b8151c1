"""From original files to an index, parts and folds, and decoded images."""
