"""WebDataset tars, whose images are read in place."""
