import torch
from gradients import rows, step


def test_the_step_is_the_plain_sum():
    torch.testing.assert_close(step("uniform", rows(8)), rows(8).sum(0))
