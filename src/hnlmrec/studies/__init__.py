"""Studies: what is read off the artefacts of several trained models."""
