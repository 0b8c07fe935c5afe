"""`inspect` of artifacts other than importance and masks: adapters, stages, lines, results."""
