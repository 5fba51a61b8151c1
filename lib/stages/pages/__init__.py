"""Pages and cards of stage 06, from what the stages left in the work folder."""
