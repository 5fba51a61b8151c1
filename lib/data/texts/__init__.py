"""Texts of products, such as titles, beside their images"""
