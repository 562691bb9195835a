"""One thread: with more, tiny tensors on a busy machine wait for the scheduler at every operation."""

import torch

torch.set_num_threads(1)
