"""From coarse masks to boxes, and how masks and boxes are scored and written."""
