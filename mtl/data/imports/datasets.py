"""datasets: a Hugging Face data set: saved to disk, a folder, or a hub id; no torchcodec needed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mtl.data.imports import Ask, Found, Skip, Sound, column

OPTIONS = ("split", "subset", "root", "columns")
_USUAL = {
    "audio": ("audio", "audio_filepath", "path", "file"),
    "text": ("text", "sentence", "transcription", "transcript", "normalized_text"),
    "lang": ("locale", "lang", "language"),
    "speaker": ("client_id", "speaker_id", "speaker"),
    "label": ("label",),
    "id": (),  # columns called id often number the sentences, not the recordings
}
_TEXT = (".csv", ".tsv", ".json", ".jsonl", ".txt")


def read(ask: Ask) -> Iterator[Found | Skip]:
    """Read a split ("train" unless asked), of the configuration `subset` where there are several.

    Columns are found by their usual names, numbered classes become their names. Raises ImportError
    without `mtl[data]`, ValueError for a split or column that is not there.
    """
    data = load(ask)
    has = {
        name: found
        for name, usual in _USUAL.items()
        if (found := column(ask, name, usual, data.column_names)) is not None
    }
    if "audio" not in has:
        names = ", ".join(data.column_names)
        raise ValueError(f"{ask.source}: which column is the audio? --columns audio=...: {names}")
    data = data.select_columns(list(dict.fromkeys(has.values())))
    if getattr(data.features[has["audio"]], "dtype", "") == "large_string":  # as tables give it
        data = data.cast_column(has["audio"], _package().Value("string"))
    data = data.cast_column(has["audio"], _package().Audio(decode=False))
    folder = ask.root or Path(ask.source)
    classes = {
        name: data.features[there].int2str
        for name, there in has.items()
        if hasattr(data.features[there], "int2str")
    }
    for index, row in enumerate(_rows(ask, data)):
        known = {name: row[there] for name, there in has.items()}
        for name, spell in classes.items():
            known[name] = None if known[name] in (None, -1) else spell(known[name])
        yield _item(f"row {index}", known, folder)


def _item(where: str, known: Mapping[str, Any], folder: Path) -> Found | Skip:
    held = known["audio"] or {}
    path, data = held.get("path"), held.get("bytes")
    if not path and not data:
        return Skip(where, "missing", "holds neither a path nor bytes of audio")
    name = path or where.replace(" ", "")
    rest = {field: known[field] for field in ("text", "lang", "speaker", "label") if field in known}
    return Found(where, Sound(name, data) if data else name, folder)._replace(
        id=None if known.get("id") is None else str(known["id"]), **rest
    )


def load(ask: Ask) -> Any:
    """Give the split's `datasets.Dataset`; raises as `read` does."""
    package, path = _package(), Path(ask.source)
    split = ask.split or "train"
    if not any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
        try:
            with _paths_need_no_encoder(package.Audio):
                return package.load_dataset(ask.source, ask.subset or None, split=split)
        except (package.exceptions.DatasetsError, ValueError) as error:
            cause = error.__cause__ or error
            said = str(cause)
            if "JSON" in said or "decoding" in said:
                said += "; correct its JSON, or import a manifest as nemo"
            raise ValueError(f"{_culprit(path, cause)}: {said}") from error
    if ask.subset:
        raise ValueError(f"{path} is a saved data set, it has no --subset; name its own folder")
    found = package.load_from_disk(str(path))
    if isinstance(found, package.DatasetDict):
        if split not in found:
            raise ValueError(f"{path}: has no split {split!r}; --split can be: {', '.join(found)}")
        return found[split]
    if ask.split not in ("", str(found.split or "train")):
        what = f"is the split {found.split}" if found.split else "has no splits, so it is train"
        raise ValueError(f"{path}: {what}, not {ask.split!r}; ask for that one")
    return found


def _rows(ask: Ask, data: Any) -> Iterator[dict[str, Any]]:
    """Give the rows, of which JSON is decoded only here."""
    try:
        yield from data
    except UnicodeDecodeError as error:
        raise ValueError(f"{_culprit(Path(ask.source), error)}: {error}") from error


def _culprit(folder: Path, error: BaseException) -> Path:
    """Find the file that is not UTF-8, which `datasets` does not name; for other errors the only one."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _TEXT)
    if not isinstance(error, UnicodeDecodeError):
        return paths[0] if len(paths) == 1 else folder
    for path in paths:
        try:
            with path.open(encoding="utf-8") as file:
                for _ in file:
                    pass
        except UnicodeDecodeError:
            return path
    return folder


@contextmanager
def _paths_need_no_encoder(audio: Any) -> Iterator[None]:
    """Store paths and bytes as they are: `datasets` asks for torchcodec before it looks at them."""
    encode = audio.encode_example

    def store(self: Any, value: Any) -> Any:
        if isinstance(value, str):
            return {"bytes": None, "path": value}
        if isinstance(value, bytes):
            return {"bytes": value, "path": None}
        if isinstance(value, Mapping) and "array" not in value:
            return {"bytes": value.get("bytes"), "path": value.get("path")}
        return encode(self, value)

    audio.encode_example = store
    try:
        yield
    finally:
        audio.encode_example = encode


def _package() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ImportError(f"data sets need datasets ({error}): pip install 'mtl[data]'") from error
    return datasets
