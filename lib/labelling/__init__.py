"""A local web page on which people label products, and the comparison of people and models."""
