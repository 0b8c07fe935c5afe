"""`sweep`: a grid of settings, each cell a run of the stages, with every stage shared that can be."""
