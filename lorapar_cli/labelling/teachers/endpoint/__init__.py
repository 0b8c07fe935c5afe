"""One OpenAI-compatible endpoint: its address, what it is sent, what it answers or says instead."""
