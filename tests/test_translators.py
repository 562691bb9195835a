"""Networks that paint and judge pictures: shapes, what a norm may see, where style and chance come in."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mtl.translators import (
    ContentEncoder,
    Decoder,
    Discriminator,
    Generator,
    Residual,
    StyleEncoder,
    adain,
)

NORMS = (nn.GroupNorm, nn.InstanceNorm2d, nn.BatchNorm2d, nn.LayerNorm)


def test_adain_gives_each_channel_the_mean_and_deviation_of_the_style():
    torch.manual_seed(0)
    x, scale, shift = torch.randn(2, 3, 5, 5) * 4 + 1, torch.rand(2, 3) + 0.5, torch.randn(2, 3)
    found = adain(x, scale, shift)
    torch.testing.assert_close(found.mean((2, 3)), shift, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.std((2, 3), correction=0), scale, atol=1e-4, rtol=1e-4)
    wanted = F.instance_norm(x) * scale[..., None, None] + shift[..., None, None]
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(adain(7 * x - 2, scale, shift), found, atol=1e-4, rtol=1e-4)
    x = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    style = [torch.randn(1, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(adain, (x, *style))


def test_a_style_is_added_to_plain_scales():
    """With a style of 0 a styled block is what one with untrained norms is."""
    torch.manual_seed(0)
    plain, styled = Residual(4), Residual(4, styled=True)
    styled.load_state_dict({n: v for n, v in plain.state_dict().items() if "norms" not in n})
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(styled(x, torch.zeros(2, 16)), plain(x))
    assert not torch.allclose(styled(x, torch.ones(2, 16)), plain(x))


@pytest.mark.parametrize("fold", [1, 2, 4])
def test_content_has_a_quarter_of_the_side_and_is_painted_at_full_size(fold):
    x = torch.randn(2, 3, 28, 28)
    encoder = ContentEncoder(3, 4, 1, fold)
    content = encoder(x)
    assert content.shape == (2, encoder.dim, 7, 7) and encoder.dim == {1: 16, 2: 8, 4: 4}[fold]
    for style in (0, 8):
        painted = Decoder(3, 4, 2, fold, style)(content, torch.randn(2, style) if style else None)
        assert painted.shape == x.shape and painted.abs().max() <= 1
    assert Generator(3, 28, 4, 1, fold, 10)(x, torch.rand(2, 10)).shape == x.shape
    assert Generator(3, 28, 4, 1, fold, 0)(x, torch.rand(2, 0)).shape == x.shape


def test_style_is_what_is_alike_all_over():
    """Norms would take it away, so the style encoder has none; the content encoder hardly sees it."""
    torch.manual_seed(0)
    style, content = StyleEncoder(1, 8, 2, 8), ContentEncoder(1, 8, 1, 2)
    assert not any(isinstance(part, NORMS) for part in style.modules())
    assert any(isinstance(part, NORMS) for part in content.modules())
    x = torch.randn(2, 1, 16, 16)
    assert style(x).shape == (2, 8)

    def moved(network):
        return ((network(3 * x) - network(x)).norm() / network(x).norm()).item()

    assert moved(style) > 0.3 and moved(content) < 0.05


def test_no_network_mixes_pictures():
    torch.manual_seed(0)
    x, z = torch.randn(3, 3, 8, 8), torch.randn(3, 8)
    content = ContentEncoder(3, 4, 1, 2)
    networks = {
        "content": content,
        "style": StyleEncoder(3, 4, 2, 8),
        "generator": lambda x, z=z: Generator(3, 8, 4, 1, 2, 0)(x, z[:, :0]),
        "judge": Discriminator(3, 4, size=8),
    }
    for name, network in networks.items():
        torch.manual_seed(1)
        whole = network(x)
        torch.manual_seed(1)
        torch.testing.assert_close(network(x[:1]), whole[:1], msg=name)
    decoder = Decoder(3, 4, 1, 2, 8)
    one = decoder(content(x[:1]), z[:1])
    torch.testing.assert_close(one, decoder(content(x), z)[:1], atol=1e-5, rtol=1e-5)


def test_style_and_chance_change_the_picture():
    torch.manual_seed(0)
    x = torch.randn(1, 3, 8, 8)
    generator, decoder = Generator(3, 8, 4, 1, 2, 10), Decoder(3, 4, 1, 2, 8)
    content = ContentEncoder(3, 4, 1, 2)(x)
    for paint, size in ((lambda z: generator(x, z), 10), (lambda z: decoder(content, z), 8)):
        assert (paint(torch.ones(1, size)) - paint(-torch.ones(1, size))).abs().mean() > 1e-3


def test_a_discriminator_judges_patches_or_the_whole():
    x = torch.randn(2, 3, 8, 8)
    patches, whole = Discriminator(3, 4), Discriminator(3, 4, size=8)
    assert patches(x).shape == (2, 4) and whole(x).shape == (2, 1)
    other = x.clone()
    other[:, :, :, 7] += 1
    changed = (patches(x) != patches(other)).any(0).view(2, 2)
    assert changed.any(0).tolist() == [False, True], "a patch sees its own corner only"


def test_noise_lies_inside_the_discriminator_and_only_in_training():
    """On every hidden layer: with its weights at 0, a score of the noise is all that is left."""
    torch.manual_seed(0)
    judge, x = Discriminator(1, 4, depth=2, size=8, noise=0.2), torch.randn(500, 1, 8, 8)
    assert not torch.equal(judge(x), judge(x))
    assert torch.equal(judge.eval()(x), judge(x))
    judge.train()
    for convolution in judge.convolutions:
        nn.init.zeros_(convolution.weight)
        nn.init.zeros_(convolution.bias)
    spread = judge(x).std().item()
    assert spread == pytest.approx(0.2 * judge.last.weight.norm().item(), rel=0.1)
    nn.init.constant_(judge.convolutions[1].weight, 0.1)
    assert judge(x).std().item() != pytest.approx(spread, rel=0.02), "the first layer's, too"
