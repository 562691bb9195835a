"""Studies: what recipes compare, where a recipe should not hold it: problems, ways to learn, verdicts."""
