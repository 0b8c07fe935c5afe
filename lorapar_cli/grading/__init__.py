"""Is an answer right: one reader of answers for labels, rewards and evaluation."""
