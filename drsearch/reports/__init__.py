"""Pages for people who were not there: one HTML file each, that opens offline and prints."""
