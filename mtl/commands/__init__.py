"""The `mtl` commands, one file each."""
