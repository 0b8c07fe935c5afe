"""Sharing an adapter: its model card, and the way to the Hugging Face Hub."""
