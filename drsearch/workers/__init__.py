"""Processes that run the trials of a study, on this machine and on others."""
