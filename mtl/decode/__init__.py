"""Decode: from the scores of heads to texts, times and segments."""
