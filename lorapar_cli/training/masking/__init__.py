"""Keeps frozen elements bit-identical, whatever optimizer or engine trains the others."""
