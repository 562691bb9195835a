"""Edits: functions from model to model, recorded in its config and replayed on loading."""
