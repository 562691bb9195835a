"""Clusters: what examples without labels have in common, one file each."""
