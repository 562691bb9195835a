"""Scores: numbers that say how tasks get on with each other, one file each."""
