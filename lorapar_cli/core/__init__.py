"""Pure maths: values and tensors in, values and tensors out. No disk, network, print."""
