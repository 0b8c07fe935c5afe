"""Who votes: rules, local models and endpoints, and how they are asked."""
