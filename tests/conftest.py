"""Unit tests run on one thread: their tensors are tiny, and on a busy machine two threads spend their time
waiting for each other (the model floor's tests: 93 s with two, 5 s with one).
"""

import torch

torch.set_num_threads(1)
