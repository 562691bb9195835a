import os
import signal
from pathlib import Path

import pytest
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter
from toy import Spelled, assert_same_weights, train

from mtl.loading import DEATHS

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


class Fatal(Spelled):
    """Kills the worker that loads x3, as often as there are files to delete in a folder."""

    def __init__(self, lives):
        super().__init__()
        self.lives = Path(lives)

    def example(self, index, draw=None, targets=True):
        if index == 3 and (left := sorted(self.lives.iterdir())):
            left[0].unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().example(index, draw, targets)


@pytest.fixture
def lives(tmp_path, monkeypatch):
    """Let torch look for dead workers more often than every five seconds."""
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.1,))
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)

    def make(count):
        for number in range(count):
            (tmp_path / str(number)).touch()
        return tmp_path

    return make


def test_a_worker_that_dies_is_replaced_and_nothing_changes(lives, caplog):
    handler = signal.getsignal(signal.SIGCHLD)
    fitted = train(Fatal(lives(2)), workers=2, accumulate=2)
    assert_same_weights(train(Spelled(), accumulate=2).model, fitted.model)
    assert caplog.text.count("another takes its place") == 2
    assert signal.getsignal(signal.SIGCHLD) == handler, "a death must not interrupt an update"


def test_workers_that_keep_dying_end_the_run(lives):
    with pytest.raises(ChildProcessError, match=f"^{DEATHS} workers .*Lower fit.workers, now 1"):
        train(Fatal(lives(99)), workers=1)
