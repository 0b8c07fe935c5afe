"""Teachers: rules, local models and endpoints, and how they are asked for labels."""
