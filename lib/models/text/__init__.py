"""A classifier of texts: n-grams, hashed and weighted, and a linear model on them"""
