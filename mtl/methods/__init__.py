"""Methods: what a paper adds to a training step, one file each."""
