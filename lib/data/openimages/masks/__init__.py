"""What networks learn to draw from boxes: coarse masks of some classes."""
