"""What a person sees: live views, tables and bars, on a terminal, in a notebook, or as plain lines."""
