"""Models with input = "text", and the texts that they read"""
