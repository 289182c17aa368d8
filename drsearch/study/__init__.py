"""What a study is, how far it has come, and what it came to."""
