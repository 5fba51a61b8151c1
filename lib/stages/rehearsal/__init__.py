"""Rehearsals: all stages on a draw of the products, and what the whole run would cost"""
