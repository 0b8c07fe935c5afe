"""The paper's maths on LoRA elements, pure: values and tensors in, values and tensors out."""
