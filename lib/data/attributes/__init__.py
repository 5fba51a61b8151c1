"""Attributes of products, such as brand and price, beside their images"""
