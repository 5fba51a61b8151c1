"""Files for users."""
