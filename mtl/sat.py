"""LHUC-SAT: speaker-adaptive training. Swietojanski, Li, Renals 2016, section IV. Topic: adaptation.

The network trains together with LHUC vectors of the training speakers. An utterance is scaled by its
speaker's vector, or by nobody's in a share of the draws (`Augment.nobody`, 0.5 in the paper): so the
network leaves to the vectors what differs between speakers, and works for an unknown one, too.

    groups = sat(model, utterances)
    data = Speech(utterances, model, augment=Augment(nobody=0.5), groups=groups)
    ...                                     # fit
    drop(model, "lhuc")                     # the network for nobody: what is saved, and adapted later

Differs: nobody's vector stays 1 instead of being learnt, so new speakers start where the saved network is.
"""

from collections.abc import Sequence

from torch import nn

from mtl.data.manifest import Utterance
from mtl.encoder import Encoder
from mtl.members import nobody_stays
from mtl.model import Model
from mtl.tune.lhuc import Scale, lhuc

UNKNOWN = "unknown"  # the speaker of a manifest line that names none


def sat(model: Model, utterances: Sequence[Utterance]) -> dict[str, dict[str, int]]:
    """Give each speaker of the training data an LHUC vector behind every block, to train with the model.

    Returns the `groups` of `Speech`: speakers in alphabetical order from 1; 0 is nobody, whose vector is not
    trained (but would be in a deep copy), and to whom utterances without a speaker belong. Raises
    ValueError where no utterance names its speaker, and for a model that has LHUC vectors already.
    """
    speakers = sorted({utterance.speaker for utterance in utterances} - {UNKNOWN})
    if not speakers:
        raise ValueError(
            f"none of {len(utterances)} training utterances names its speaker: write `speaker` into "
            "the manifest, or train without speakers"
        )
    lhuc(model, len(speakers) + 1)
    for scale in model.modules():
        if isinstance(scale, Scale) and scale.column == "speaker":
            nobody_stays(scale.a)
    return {"speaker": {"": 0} | {name: number for number, name in enumerate(speakers, 1)}}


def drop(model: Model, name: str) -> None:
    """Take an edit by speaker out again: the modules that it put around blocks, and its record.

    Outputs become those of the examples for which it changed nothing, such as nobody's, to the bit. Raises
    ValueError for an edit that the model does not have, and for one that lies within layers (LoRA).
    """
    ours = [e for e in model.edits if e["name"] == name and e.get("column", "speaker") == "speaker"]
    known = [entry["name"] for entry in model.edits]
    if not ours:
        raise ValueError(f"no edit {name!r}; this model has: {', '.join(known) or 'none'}")
    holders = [holder for holder in places(model) if name in holder]
    if not holders:
        raise ValueError(f"edit {name!r} changed layers themselves: it cannot be taken out")
    for holder in holders:
        del holder[name]
    model.edits = [entry for entry in model.edits if entry not in ours]


def places(model: Model) -> list[nn.ModuleDict]:
    """List the places where edits put modules."""
    encoders = [encoder for encoder in model.modules() if isinstance(encoder, Encoder)]
    found = [place for e in encoders for place in (e.before, *e.after.values())]
    return [place for place in found if isinstance(place, nn.ModuleDict)]
