"""`lorapar score`: the adapter and the importance of its elements for both systems."""
