"""MUNIT: its terms by hand from its own networks; styles are drawn, contents kept."""

import pytest
import torch
from painting import SMALL, batches, calm, run, stepped
from torch.nn.functional import l1_loss

from mtl.methods.munit import MUNIT, STYLE


@pytest.mark.parametrize("cycle", [0.0, 0.7])
def test_terms_are_those_of_the_paper(cycle):
    method = calm("munit", reconstruct=2.0, codes=0.5, cycle=cycle)
    method.draw = lambda like: torch.linspace(-1, 1, like.numel()).view_as(like)
    step, view, terms = stepped(method)
    x, y = (b.inputs for b in batches(step.model, source=5, target=4).values())
    content, style, paint = method.content, method.style, method.decoders
    for_x, for_y = (method.draw(torch.empty(n, STYLE)) for n in (5, 4))
    rebuilt = l1_loss(paint[0](content[0](x), style[0](x)), x)
    rebuilt = rebuilt + l1_loss(paint[1](content[1](y), style[1](y)), y)
    like_y, like_x = paint[1](content[0](x), for_x), paint[0](content[1](y), for_y)
    kept = l1_loss(content[1](like_y), content[0](x)) + l1_loss(content[0](like_x), content[1](y))
    styled = l1_loss(style[1](like_y), for_x) + l1_loss(style[0](like_x), for_y)
    torch.testing.assert_close(terms["rebuilt"], 2 * rebuilt)
    torch.testing.assert_close(terms["content"], 0.5 * kept)
    torch.testing.assert_close(terms["style"], 0.5 * styled)
    torch.testing.assert_close(view.batches["source"].inputs[5:], like_y)
    if cycle:
        back = l1_loss(paint[0](content[1](like_y), style[0](x)), x)
        back = back + l1_loss(paint[1](content[0](like_x), style[1](y)), y)
        torch.testing.assert_close(terms["cycled"], 0.7 * back)
    else:
        assert "cycled" not in terms


def test_a_picture_has_many_translations_of_one_content():
    method = MUNIT(networks=SMALL)
    step, _, _ = stepped(method)
    x = batches(step.model, source=1)["source"].inputs.expand(300, -1, -1, -1)
    drawn, decoder = [], method.decoders[1].forward
    method.decoders[1].forward = lambda c, s: drawn.append((c, s)) or decoder(c, s)
    with torch.no_grad():
        first, second, *_ = method.translate(x)
    assert not torch.equal(first, second)
    ((content, style),) = drawn
    torch.testing.assert_close(content, content[:1].expand_as(content))
    assert style.mean().item() == pytest.approx(0, abs=0.1)
    assert style.std().item() == pytest.approx(1, abs=0.05)


def test_styles_reach_the_residual_blocks_alone():
    method = calm("munit")
    method.draw = torch.ones_like
    _, _, terms = stepped(method)
    terms["style"].backward()
    decoder = method.decoders[1]
    assert all(p.grad is not None and p.grad.any() for p in decoder.styling.parameters())
    blocks = sum(p.numel() for n, p in decoder.blocks.named_parameters() if "norms" in n)
    assert blocks == 0, "their scales are the style's"


def test_training_keeps_what_is_in_the_pictures():
    fitted = run(MUNIT(networks=SMALL._replace(lr=5e-3)), steps=25)
    first, last = (fitted.history[n]["loss"]["method/rebuilt"] for n in (0, -1))
    assert last < 0.9 * first


def test_wrong_settings_are_named():
    for arguments in ({"reconstruct": -1.0}, {"codes": -1.0}, {"cycle": -1.0}):
        with pytest.raises(ValueError, match=r"reconstruct is .* none may be below 0"):
            MUNIT(**arguments)
