"""Reports: one self-contained page, figures and tables, from the artefacts of runs and studies."""
