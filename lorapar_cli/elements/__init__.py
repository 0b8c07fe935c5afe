"""The paper's maths on LoRA elements: pure functions of values, arrays and tensors."""
