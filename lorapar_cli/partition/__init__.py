"""`lorapar partition`: importance in, the mask of active elements out."""
