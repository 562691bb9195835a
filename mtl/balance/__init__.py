"""Balance: how much each task's gradient counts in a step, one file each."""
