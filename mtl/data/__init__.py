"""Data: manifests, audio, text and the embedded corpus."""
