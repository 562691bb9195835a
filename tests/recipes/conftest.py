import pytest


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    """Runs without --out go to a folder of the test's own, as two at once may not share one."""
    monkeypatch.chdir(tmp_path)
