"""From conversations to tokens: chat templates, prompts, and what of a record carries loss."""
