"""Small utterances in two languages, and a model for them."""

import torch

from mtl.data.manifest import read_manifest, write_manifest
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.model import Model
from mtl.stems.logmel import LogMel
from mtl.trunks.transformer import Transformer

HZ = 8000


def stem():
    return LogMel(8, hz=HZ, bins=16, subsample=4)


def build(*tasks, ear=None):
    torch.manual_seed(0)
    trunk = Transformer(8, depth=1, heads=2, expansion=2)
    return Model({"speech": ear or stem()}, trunk, tasks)


def two_languages():
    return build(
        Task("nl", "speech", CTC(list(" abde"))),
        Task("cy", "speech", CTC(list(" abdw"))),
        Task("language", "speech", Classify(["nl", "cy"])),
    )


def rows(*changes):
    texts = ("aba", "bad da", "ab", "dab")
    lines = [
        {
            "audio_filepath": f"{n}.wav",
            "text": texts[n],
            "lang": ("nl", "cy")[n % 2],
            "speaker": f"s{n}",
        }
        for n in range(4)
    ]
    for place, change in changes:
        lines[place] |= change
    return lines


def manifest(folder, lines, name="train.jsonl"):
    write_manifest(folder / name, lines)
    return read_manifest(folder / name)
