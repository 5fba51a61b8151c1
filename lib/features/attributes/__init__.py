"""Features of candidate rows from the attributes of products"""
