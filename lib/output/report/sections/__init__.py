"""One module for each subject of the report: from arrays to the blocks of a section."""
