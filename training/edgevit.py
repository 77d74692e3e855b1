"""EdgeViT after arXiv 2205.03436, with the module names of the authors' code.

A state_dict of this class has the layout `official` of the service: see
model/edgevit.go, which describes the same network, and docs/models.md.

Shapes: feature maps are [N, C, H, W] in the memory format channels_last, so
that their permutation to [N, H, W, C] is contiguous and costs nothing.
"""

from dataclasses import asdict, dataclass, fields

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Config:
    """Everything about a network but its weights. Four values: one a stage."""

    classes: int = 1000
    size: int = 224  # side of the input in pixels
    depths: tuple = (1, 1, 3, 2)  # LGL blocks
    dims: tuple = (36, 72, 144, 288)  # channels
    head_dim: int = 36  # channels of an attention head
    rates: tuple = (4, 2, 2, 1)  # r: one token per r x r window attends
    patches: tuple = (4, 2, 2, 2)  # side of a patch, in pixels of the stage before
    mlp_ratio: int = 4
    drop_path: float = 0.0  # rate of the last block; it grows linearly from 0

    block_layer_norm_eps: float = 1e-6
    layer_norm_eps: float = 1e-5  # PatchEmbed and LocalProp
    batch_norm_eps: float = 1e-5

    @property
    def heads(self):
        return tuple(dim // self.head_dim for dim in self.dims)

    def check(self):
        """Raises ValueError where an input of that size does not fit."""
        side = self.size
        for i, (dim, patch, rate) in enumerate(zip(self.dims, self.patches, self.rates), 1):
            if dim % self.head_dim:
                raise ValueError(f"stage {i}: {dim} channels are no multiple of {self.head_dim}, those of a head")
            if side % patch or side // patch % rate:
                raise ValueError(f"input size {self.size}: stage {i} cannot cut a side of {side} by {patch} and {rate}")
            side //= patch

    def to_json(self):
        return asdict(self)

    @staticmethod
    def from_json(d):
        names = {f.name for f in fields(Config)}
        return Config(**{k: tuple(v) if isinstance(v, list) else v for k, v in d.items() if k in names})


# The paper's table 1, and the demo: CIFAR-10's 32-pixel pictures, enlarged.
PRESETS = {
    "xxs": Config(),
    "xs": Config(depths=(1, 1, 3, 1), dims=(48, 96, 240, 384), head_dim=48),
    "s": Config(depths=(1, 2, 5, 3), dims=(48, 96, 240, 384), head_dim=48),
    "demo": Config(classes=10, size=64, dims=(24, 48, 96, 192), head_dim=24),
}


def tokens(x):
    """[N, C, H, W] to [N, H, W, C], a view."""
    return x.permute(0, 2, 3, 1)


def feature_map(x):
    """[N, H, W, C] to [N, C, H, W], a view."""
    return x.permute(0, 3, 1, 2)


class DropPath(nn.Module):
    """Leaves out a residual branch for a share of the images (arXiv 1603.09382)."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        mask = torch.empty(x.shape[0], 1, 1, 1, device=x.device).bernoulli_(keep).div_(keep)
        return x * mask


class PatchEmbed(nn.Module):
    """Cuts x into patches and projects each: [N, C, H, W] to [N, dim, H/patch, W/patch]."""

    def __init__(self, inputs, dim, patch, eps):
        super().__init__()
        self.proj = nn.Conv2d(inputs, dim, patch, stride=patch)
        self.norm = nn.LayerNorm(dim, eps=eps)

    def forward(self, x):
        return feature_map(self.norm(tokens(self.proj(x))))


class CMlp(nn.Module):
    """The MLP of LocalAgg, of 1x1 convolutions."""

    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1 = nn.Conv2d(dim, hidden, 1)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(hidden, dim, 1)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


class Mlp(nn.Module):
    """The MLP of SelfAttn, on tokens [..., dim]."""

    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


def depthwise(dim, kernel):
    return nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim)


class LocalAgg(nn.Module):
    """Mixes each pixel with its neighbourhood (section 3.1). Shapes stay."""

    def __init__(self, c, dim, drop_path):
        super().__init__()
        self.pos_embed = depthwise(dim, 3)
        self.norm1 = nn.BatchNorm2d(dim, eps=c.batch_norm_eps)
        self.conv1 = nn.Conv2d(dim, dim, 1)
        self.conv2 = nn.Conv2d(dim, dim, 1)
        self.attn = depthwise(dim, 5)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.BatchNorm2d(dim, eps=c.batch_norm_eps)
        self.mlp = CMlp(dim, dim * c.mlp_ratio)

    def forward(self, x):
        x = x + self.pos_embed(x)
        x = x + self.drop_path(self.conv2(self.attn(self.conv1(self.norm1(x)))))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class GlobalSparseAttn(nn.Module):
    """Attention among one token per r x r window; LocalProp spreads the result
    over the window (section 3.1). Tokens [N, H, W, dim] throughout."""

    def __init__(self, c, dim, rate):
        super().__init__()
        self.rate = rate
        self.heads = dim // c.head_dim
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        if rate > 1:
            self.LocalProp = nn.ConvTranspose2d(dim, dim, rate, stride=rate, groups=dim)
            self.norm = nn.LayerNorm(dim, eps=c.layer_norm_eps)

    def forward(self, x):
        r = self.rate
        if r > 1:
            x = x[:, ::r, ::r]
        n, h, w, dim = x.shape
        q, k, v = self.qkv(x).view(n, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v)  # scale 1/sqrt(head_dim)
        x = x.transpose(1, 2).reshape(n, h, w, dim)
        if r > 1:
            x = self.norm(tokens(self.LocalProp(feature_map(x))))
        return self.proj(x)


class SelfAttn(nn.Module):
    """The transformer half of a block: GlobalSparseAttn, then an MLP. Shapes stay."""

    def __init__(self, c, dim, rate, drop_path):
        super().__init__()
        self.pos_embed = depthwise(dim, 3)
        self.norm1 = nn.LayerNorm(dim, eps=c.block_layer_norm_eps)
        self.attn = GlobalSparseAttn(c, dim, rate)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, eps=c.block_layer_norm_eps)
        self.mlp = Mlp(dim, dim * c.mlp_ratio)

    def forward(self, x):
        x = tokens(x + self.pos_embed(x))
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return feature_map(x + self.drop_path(self.mlp(self.norm2(x))))


class LGLBlock(nn.Module):
    """Local-global-local bottleneck (section 3.1). Where r is 1 there is no LocalAgg."""

    def __init__(self, c, dim, rate, drop_path):
        super().__init__()
        self.LocalAgg = LocalAgg(c, dim, drop_path) if rate > 1 else nn.Identity()
        self.SelfAttn = SelfAttn(c, dim, rate, drop_path)

    def forward(self, x):
        return self.SelfAttn(self.LocalAgg(x))


class EdgeViT(nn.Module):
    """Images [N, 3, size, size], normalised, to logits [N, classes]."""

    def __init__(self, config):
        super().__init__()
        config.check()
        self.config = config
        inputs, block, last = 3, 0, max(sum(config.depths) - 1, 1)
        for i, (depth, dim, patch, rate) in enumerate(zip(config.depths, config.dims, config.patches, config.rates), 1):
            setattr(self, f"patch_embed{i}", PatchEmbed(inputs, dim, patch, config.layer_norm_eps))
            blocks = nn.ModuleList()
            for _ in range(depth):
                blocks.append(LGLBlock(config, dim, rate, config.drop_path * block / last))
                block += 1
            setattr(self, f"blocks{i}", blocks)
            inputs = dim
        self.norm = nn.BatchNorm2d(inputs, eps=config.batch_norm_eps)
        self.head = nn.Linear(inputs, config.classes)
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.trunc_normal_(m.weight, std=0.02)
                nn.init.zeros_(m.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, x):
        x = x.contiguous(memory_format=torch.channels_last)
        for i in range(1, 5):
            x = getattr(self, f"patch_embed{i}")(x)
            for block in getattr(self, f"blocks{i}"):
                x = block(x)
        return self.head(self.norm(x).mean((2, 3)))
