"""Catalogs in the schema of Open Images: classes in a tree, boxes, clusters."""
