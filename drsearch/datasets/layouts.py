"""The layouts in which public data sets are distributed, each recognised by what lies in a folder."""
