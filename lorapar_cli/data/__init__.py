"""Records in: files, folders and hub data sets, whatever their layout."""
