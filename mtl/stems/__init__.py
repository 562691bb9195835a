"""Stems: raw input into the common space, one file each."""
