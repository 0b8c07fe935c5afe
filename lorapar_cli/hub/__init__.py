"""The only users of transformers, peft, datasets and HTTP."""
