"""Tests compute in one thread.

With more, every operation on a tiny tensor waits for the scheduler as soon as anything else runs.
"""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    """Let `fit` find a machine of one core."""
    monkeypatch.setattr("psutil.cpu_count", lambda logical=True: 1)
