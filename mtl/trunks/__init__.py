"""Trunks: an ordered list of named blocks, one file each."""
