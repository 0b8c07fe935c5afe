"""The only users of transformers, peft, trl, datasets and HTTP."""

import logging
import warnings

# Before any of them is imported: their notices would be drawn over our own display, and their
# deprecations are between one library and another.
logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers|trl|peft")
