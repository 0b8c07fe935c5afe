"""The same questions on a real pretrained model of 135 million parameters."""
