"""Multilingual speech recognition: one shared trunk, a CTC head per language. Huang et al. 2013.

    accelerate launch recipes/multilingual_asr.py
    accelerate launch recipes/multilingual_asr.py --data train.jsonl --test test.jsonl

Without `--data` it makes its own corpus (extra `corpus`): spoken numbers, dates, times and prices, five
languages in full and one with 60 utterances, test voices and texts never heard in training. The language
with little data is also trained alone, with the same network and its own best stopping.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import PartialState

from mtl import Model, Stream, Task, evaluate, fit
from mtl.config import Fit, parse, write
from mtl.data.augment import Augment
from mtl.data.cache import Cache
from mtl.data.manifest import Utterance, hold_out, read_manifest
from mtl.data.speech import Speech, describe_skips, screen
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.report import Claim, Report, compare
from mtl.stems.frames import Frames
from mtl.stems.logmel import LogMel
from mtl.text import TextRules, normalise, symbols
from mtl.trunks.conformer import Conformer


@dataclass
class Net:
    """The network."""

    dim: int = 144
    """width of the trunk"""
    depth: int = 6
    """conformer blocks"""
    heads: int = 4
    """attention heads per block"""
    dropout: float = 0.1
    """dropout"""
    subsample: int = 4
    """10 ms frames per trunk frame"""
    upsample: int = 2
    """CTC frames per trunk frame; fast speech cannot be spelled with too few"""


@dataclass
class Config:
    """Train one trunk with a head per language, and the low-resource language alone beside it."""

    data: list[Path] = field(default_factory=list)
    """training manifests (JSON lines); none makes the embedded corpus"""
    dev: list[Path] = field(default_factory=list)
    """manifests that choose the weights; none holds out a tenth by speaker"""
    test: list[Path] = field(default_factory=list)
    """manifests to report on"""
    languages: str = ""
    """comma separated; default: those of the manifests, or en,de,fr,es,it for the embedded corpus"""
    low_resource: str = ""
    """language=utterances to keep for training; default nl=60 for the embedded corpus"""
    utterances: int = 1500
    """embedded corpus: training utterances of each full language"""
    share: float = 0.07
    """share of the low-resource language in every batch"""
    batch_seconds: float = 72.0
    """seconds of audio per step, over all processes"""
    baseline: bool = True
    """train the low-resource language alone as well; with --full every language"""
    full: bool = False
    """6,000 steps, and every language alone as well"""
    smoke: bool = False
    """seconds instead of minutes: a tiny corpus and network, to see that all runs"""
    out: Path = Path("runs/multilingual_asr")
    """folder for checkpoints, model and metrics; started again with the same folder, a run resumes"""
    net: Net = field(default_factory=Net)
    fit: Fit = field(default_factory=lambda: Fit(steps=3000, average=8, save_every=60, eval_every=0))
    alone: Fit = field(default_factory=lambda: Fit(steps=1200, average=8, save_every=60, eval_every=120, patience=4))
