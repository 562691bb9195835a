"""Heads: trunk features into losses, scores and predictions, one file each."""
