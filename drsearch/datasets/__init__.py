"""How data sets lie on disk, and how each becomes one row per photograph; no photograph is opened."""
