"""What is trained next: the search for a rate, and what fits into a time."""
