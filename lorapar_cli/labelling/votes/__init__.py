"""From answers to labels: the journal, the table of votes, the decision."""
