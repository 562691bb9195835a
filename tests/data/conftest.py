import numpy as np
import pytest
import soundfile
from spoken import HZ


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Four short recordings and a longer one of which two lines are cuts."""
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for index, seconds in enumerate((0.5, 0.6, 0.8, 1.0)):
        tone = np.sin(np.arange(int(seconds * HZ)) * 0.05 * (index + 1))
        soundfile.write(
            folder / f"{index}.wav", 0.3 * tone + 0.01 * rng.standard_normal(len(tone)), HZ
        )
    soundfile.write(folder / "long.flac", 0.1 * rng.standard_normal(3 * HZ), HZ)
    return folder
