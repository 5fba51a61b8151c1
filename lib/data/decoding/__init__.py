"""From the bytes of a picture file to the pixels that a shop page shows."""
