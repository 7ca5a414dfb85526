"""Runs of one flow with different settings, compared row by row; no display."""
