"""Instances: how much each source example counts for the target, one file each."""
