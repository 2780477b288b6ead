"""A sampler, a loss and a backbone for hnlmrec; docs/extending.md explains them."""
