"""From answers to labels: the journal, the vote and its figures."""
