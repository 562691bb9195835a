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

    if Path(source).is_dir():
        return Path(source)
    name, wanted = str(source), list(FILES)
    try:
        fetched = snapshot_download(name, revision=revision, allow_patterns=wanted, **options)
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"{name!r} is neither a folder here nor a model that the hub gives: {error}"
        ) from error
    return Path(fetched)
