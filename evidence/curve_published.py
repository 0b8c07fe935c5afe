"""Published shares of elements by theta."""

THETAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
PUBLISHED = (0.32, 1.22, 2.72, 4.90, 7.91, 12.07, 17.87, 26.40, 40.56)
"""Per cent of the elements at each theta, QKVGUD on LLaMA2-7B.

Source: LoRA-PAR Tab. 3.
"""
