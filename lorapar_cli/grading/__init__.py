"""Whether an answer is right: one set of rules for labels, rewards and evaluation."""
