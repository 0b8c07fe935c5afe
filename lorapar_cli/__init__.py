"""LoRA-PAR: fine-tune LLMs in two systems, from staged commands that exchange artifacts on disk."""

__version__ = "0.1.0"
