"""Attributes of products, such as brand and price, and the features that they give"""
