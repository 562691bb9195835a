"""Hub: where the files of a saved model lie, here or fetched by id."""

import os
from pathlib import Path
from typing import Any

FILES = (
    "config.json",
    "model.safetensors",
)  # what a saved model needs; a README.md may lie beside them


def folder_of(source: str | os.PathLike[str], revision: str | None = None, **options: Any) -> Path:
    """Give `source` where it is a folder, else the folder fetched for this hub id.

    `options` go to `huggingface_hub.snapshot_download`. Raises FileNotFoundError where there is neither.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if not str(source):
        raise FileNotFoundError("no model is named: give its folder or hub id")
    if Path(source).is_dir():
        return Path(source)
    refuse_path(source)
    name, wanted = str(source), list(FILES)
    try:
        fetched = snapshot_download(name, revision=revision, allow_patterns=wanted, **options)
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"{name!r} is neither a folder here nor a model that the hub gives: {error}"
        ) from error
    return Path(fetched)


def refuse_path(source: str | os.PathLike[str]) -> None:
    """Raise FileNotFoundError for a file, or a path that is no folder and cannot be a hub id.

    >>> refuse_path("./modle")
    Traceback (most recent call last):
    FileNotFoundError: ./modle: no such folder
    """
    name = str(source)
    if Path(name).is_file():
        raise FileNotFoundError(f"{name} is a file; give the folder of a saved model, or a hub id")
    if name[:1] in ("/", ".", "~") or name.count("/") > 1:
        raise FileNotFoundError(f"{name}: no such folder")
