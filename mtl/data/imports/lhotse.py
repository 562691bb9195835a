"""lhotse: cuts, or supervisions beside recordings (.jsonl, .jsonl.gz), or a Shar folder."""

import tarfile
import zlib
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from mtl.data.imports import Ask, Found, Skip, Sound

OPTIONS = ("split", "root", "columns")
_SLACK = 0.05  # seconds that a supervision may stand out of its cut
_HARMLESS = ("Resample",)  # changes no time: the file is read at any rate anyway


def read(ask: Ask) -> Iterator[Found | Skip]:
    """Read each supervision as an utterance: the sound of its own span, one text.

    A folder is Shar if it holds `cuts.*`, else the pair `*supervisions*`, `*recordings*` whose names hold
    `split`. Relative paths start at `root` (default: the manifest's folder). No command is ever run.
    Raises ImportError without `mtl[data]`, ValueError for what is no manifest of lhotse.
    """
    path = Path(ask.source)
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    if path.is_dir() and not any(path.glob("cuts.*")):
        path = _one(path, "supervisions", ask.split)
    package, path = _package(), path.absolute()  # so that no name looks like "pipe:..." to lhotse
    items = _shar(package, path) if path.is_dir() else _file(package, path)
    try:
        for where, recording, supervision, cut in items:
            yield _item(where, recording, supervision, cut, ask)
    except _BROKEN as error:
        raise ValueError(f"{path}: cannot be read as data of lhotse ({error!r:.300})") from error


_Items = Iterator[
    tuple[str, Any, Any, Any]
]  # (where, recording, supervision, cut), None if missing
_BROKEN = (  # what lhotse lets through of a manifest or archive that is none
    *(ValueError, KeyError, TypeError, AttributeError, AssertionError, RuntimeError),
    *(EOFError, tarfile.TarError, zlib.error),
)


def _shar(package: Any, folder: Path) -> _Items:
    cuts = sorted(str(path) for path in folder.glob("cuts.*.jsonl*"))
    sounds = [p for kind in ("tar", "jsonl") for p in folder.glob(f"recording.*.{kind}*")]
    if len(cuts) != len(sounds) or not cuts:
        raise ValueError(
            f"{folder}: holds {len(cuts)} shards of cuts and {len(sounds)} of recordings; wanted as "
            "many of both: copy the missing ones"
        )
    return chain.from_iterable(
        _shard(package, *shard) for shard in zip(cuts, sorted(map(str, sounds)), strict=True)
    )


def _shard(package: Any, cuts: str, sounds: str) -> _Items:
    seen = 0
    # The shards are named, so that features and other fields are not read.
    for cut in package.CutSet.from_shar(fields={"cuts": [cuts], "recording": [sounds]}):
        seen += 1
        yield from _of_cut(cut)
    # Where the recordings end early lhotse stops without a word; these cuts still lack their sound.
    for cut in islice(package.CutSet.from_jsonl_lazy(cuts), seen, None):
        yield from _of_cut(cut)


def _file(package: Any, path: Path) -> _Items:
    load = package.serialization.load_manifest_lazy_or_eager
    try:
        found = load(path)
    except _BROKEN as error:
        raise ValueError(f"{path}: is no manifest of lhotse ({error!r:.300})") from error
    if isinstance(found, package.CutSet):
        return chain.from_iterable(map(_of_cut, found))
    if not isinstance(found, package.SupervisionSet):
        raise ValueError(f"{path}: holds neither cuts nor supervisions; name a manifest of these")
    pair = path.with_name(path.name.replace("supervisions", "recordings"))
    if pair == path or not pair.is_file():
        wanted = "supervisions.jsonl.gz and recordings.jsonl.gz beside it"
        raise ValueError(
            f"{path}: where are its recordings? wanted a pair of names such as {wanted}"
        )
    recordings = {recording.id: recording for recording in package.RecordingSet.from_file(pair)}
    return (
        (f"supervision {segment.id}", recordings.get(segment.recording_id), segment, None)
        for segment in found
    )


def _of_cut(cut: Any) -> _Items:
    recording = getattr(cut, "recording", None)
    for supervision in cut.supervisions or (None,):
        yield f"cut {cut.id}", recording, supervision, cut


def _one(folder: Path, what: str, split: str) -> Path:
    paths = sorted(path for path in folder.glob(f"*{what}*") if ".json" in path.name)
    fitting = [path for path in paths if split in path.name]
    if len(fitting) != 1:
        has = ", ".join(path.name for path in paths) or "none"
        raise ValueError(f"{folder}: wanted one file of {what}; name it, or --split, among: {has}")
    return fitting[0]


def _item(where: str, recording: Any, supervision: Any, cut: Any, ask: Ask) -> Found | Skip:
    if supervision is None:
        return Skip(where, "text", "has no supervision, so no text; transcribe it")
    problem = _problem(recording, supervision, cut)
    if problem is not None:
        return Skip(where, *problem)
    source = recording.sources[0]
    held = source.type == "memory"
    begin, end = supervision.start, supervision.end
    if cut is not None:  # supervisions count from the start of their cut
        begin, end = cut.start + max(begin, 0.0), cut.start + min(end, cut.duration)
    channels = (
        supervision.channel if isinstance(supervision.channel, list) else [supervision.channel]
    )
    every = set(channels) == set(recording.channel_ids)

    def value(name: str, usual: str) -> Any:
        wanted = ask.columns.get(name, usual)
        return getattr(supervision, wanted, None) if wanted else None

    return Found(
        where,
        Sound(cut.id if cut is not None else recording.id, source.source)
        if held
        else source.source,
        ask.root or Path(ask.source if Path(ask.source).is_dir() else Path(ask.source).parent),
        text=value("text", "text") or "",
        lang=value("lang", "language"),
        speaker=value("speaker", "speaker"),
        id=str(value("id", "id")),
        label=value("label", ""),
        offset=begin,
        seconds=end - begin,
        channel=None if every else source.channels.index(channels[0]),
    )


def _problem(recording: Any, supervision: Any, cut: Any) -> tuple[str, str] | None:
    """Say why a supervision's sound cannot be found in one file."""
    if type(cut).__name__ not in ("MonoCut", "MultiCut", "NoneType"):
        return "mixed", "is mixed or padded sound; write it first: cut.save_audio(path)"
    if recording is None:
        return "missing", "has no recording; add recordings, or the recording shards"
    if recording.transforms and any(
        _name(change) not in _HARMLESS for change in recording.transforms
    ):
        names = ", ".join(_name(change) for change in recording.transforms)
        return "transform", f"{names} would have to be computed; write it: cut.save_audio(path)"
    if len(recording.sources) != 1:
        return "channel", f"{recording.id} is spread over {len(recording.sources)} files; mix them"
    source = recording.sources[0]
    if source.type == "command":
        return "pipe", f"no command is run here; run it yourself and name the file: {source.source}"
    if source.type == "shar":
        return "missing", f"{recording.id} is not in the recording shard; copy the shard again"
    if source.type not in ("file", "memory"):
        return "address", f"{source.source} is a {source.type}; download it and name the file"
    out = 0.0 if cut is None else max(-supervision.start, supervision.end - cut.duration)
    if out > _SLACK:
        return "times", f"supervision {supervision.id} stands {out:.2f} s out of its cut"
    return None


def _name(change: Any) -> str:
    return str(change.get("name")) if isinstance(change, dict) else type(change).__name__


def _package() -> Any:
    try:
        import lhotse
    except ImportError as error:
        raise ImportError(f"its data need lhotse ({error}): pip install 'mtl[data]'") from error
    return lhotse
