"""What drsearch claims about speed, each claim with the command that repeats it: `python -m benchmarks.<name>`."""
