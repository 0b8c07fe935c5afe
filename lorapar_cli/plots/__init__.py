"""Plots of partitions and of training; need the extra `plot`."""
