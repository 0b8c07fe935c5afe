"""Reads records from files, folders and hub data sets in any recognised format."""
