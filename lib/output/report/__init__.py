"""The report of a run: one HTML file, its charts and pictures inside."""
