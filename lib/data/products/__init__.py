"""Products: all images of a product at once, combined into one or side by side"""
