"""What may be done around a training stage: replay, filters, rates; each is off by default."""
