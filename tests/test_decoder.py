"""The decoder against torch's own, with and without what it keeps of the symbols before."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mtl.decoder import Decoder, positions

COUNT, DIM, DEPTH, HEADS = 5, 12, 2, 3


def decoder(seed=0):
    torch.manual_seed(seed)
    made = Decoder(COUNT, DIM, DEPTH, HEADS, expansion=2, dropout=0.1)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made.eval()


def torchs(ours):
    """torch's decoder with the weights of ours, from embedded symbols to the end of the layers."""
    layer = nn.TransformerDecoderLayer(
        DIM, HEADS, 2 * DIM, dropout=0.0, activation=F.silu, batch_first=True, norm_first=True
    )
    theirs = nn.TransformerDecoder(layer, DEPTH).eval()
    for own, its in zip(ours.layers, theirs.layers, strict=True):
        for look, attention in ((own.own, its.self_attn), (own.across, its.multihead_attn)):
            inward = {"weight": attention.in_proj_weight, "bias": attention.in_proj_bias}
            for name, value in inward.items():
                parts = [getattr(look.query, name), getattr(look.pair, name)]
                value.data.copy_(torch.cat(parts))
            attention.out_proj.load_state_dict(look.outward.state_dict())
        norm, first, _, _, second, _ = own.feed_forward
        pairs = [(its.norm1, own.own_norm), (its.norm2, own.across_norm), (its.norm3, norm)]
        for theirs_too, ours_too in [*pairs, (its.linear1, first), (its.linear2, second)]:
            theirs_too.load_state_dict(ours_too.state_dict())
    return theirs


def inputs():
    g = torch.Generator().manual_seed(1)
    symbols = torch.randint(0, COUNT, (3, 6), generator=g)
    return symbols, torch.randn(3, 7, DIM, generator=g), torch.tensor([7, 4, 1])


@torch.no_grad()
def test_it_is_torchs_decoder_with_sinusoids():
    ours, (symbols, x, lengths) = decoder(), inputs()
    places = torch.arange(6)[:, None] / 10_000 ** (torch.arange(0, DIM, 2) / DIM)
    embedded = ours.embed(symbols) + torch.cat([places.sin(), places.cos()], 1)
    hidden = torch.arange(7) >= lengths[:, None]
    later = nn.Transformer.generate_square_subsequent_mask(6)
    inner = torchs(ours)(embedded, x, tgt_mask=later, memory_key_padding_mask=hidden)
    expected = ours.output(ours.norm(inner)).log_softmax(-1)
    found, _ = ours(symbols, ours.memory(x, lengths))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("step", [1, 2, 4])
def test_what_is_kept_serves_as_the_symbols_before(step):
    ours, (symbols, x, lengths) = decoder(), inputs()
    memory = ours.memory(x, lengths)
    expected, past, found = ours(symbols, memory)[0], [], []
    for part in symbols.split(step, 1):
        logs, past = ours(part, memory, past)
        found.append(logs)
    torch.testing.assert_close(torch.cat(found, 1), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_batch_gives_what_its_examples_give_alone():
    ours, (symbols, x, lengths) = decoder(), inputs()
    together, _ = ours(symbols, ours.memory(x, lengths))
    for row, length in enumerate(lengths):
        rows = slice(row, row + 1)
        alone, _ = ours(symbols[rows, :3], ours.memory(x[rows, :length], lengths[rows]))
        torch.testing.assert_close(together[rows, :3], alone, atol=1e-5, rtol=1e-5)


def test_frames_behind_the_end_get_no_gradient():
    ours, (symbols, x, lengths) = decoder(), inputs()
    x.requires_grad_()
    ours(symbols, ours.memory(x, lengths))[0].square().sum().backward()
    for row, length in enumerate(lengths):
        assert x.grad[row, :length].ne(0).any(1).all() and not x.grad[row, length:].any()


def test_half_precision_gives_whole_probabilities():
    ours, (symbols, x, lengths) = decoder(), inputs()
    exact, _ = ours(symbols, ours.memory(x, lengths))
    with torch.autocast("cpu", torch.bfloat16):
        rough, _ = ours(symbols, ours.memory(x, lengths))
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough.exp(), exact.exp(), atol=0.05, rtol=0)


def test_an_utterance_without_a_frame_gives_no_nan():
    ours, (symbols, x, _) = decoder(), inputs()
    assert ours(symbols, ours.memory(x, torch.tensor([7, 0, 1])))[0].isfinite().all()


def test_places_go_on_where_they_ended():
    device = torch.device("cpu")
    whole = positions(0, 9, DIM, device)
    assert positions(4, 5, DIM, device).equal(whole[4:])


@pytest.mark.parametrize(("dim", "heads"), [(12, 5), (9, 3)])
def test_widths_that_cannot_be_are_named(dim, heads):
    with pytest.raises(ValueError, match=rf"dim {dim} over {heads} heads"):
        Decoder(COUNT, dim, 1, heads, 2, 0.0)
