"""`lorapar classify`: records in, labelled splits out."""
