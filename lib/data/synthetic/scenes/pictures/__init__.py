"""Pictures that scenes are composed of, from several sources."""
