"""`lorapar compare`: does the mask earn its place, and which recipe does best?"""
