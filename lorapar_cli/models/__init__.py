"""Base models and adapters: loading, initial values, batches, generation, export."""

import logging
import warnings

# Before the libraries are imported: their notices would be drawn over our own display, and their
# deprecation warnings concern other libraries. No vocabulary is changed here, so that it does not matter
# whether PEFT finds the base model's own.
logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers|trl|peft")
warnings.filterwarnings("ignore", "Could not find a config file in", UserWarning)
# Of transformers 5.24, which attributes it to whoever called the model; 5.23 has no other name for it.
warnings.filterwarnings("ignore", "`past_key_values` is deprecated", FutureWarning)
