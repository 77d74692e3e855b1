"""Writes what this folder's code computes, for golden_test.go.

    python golden.py OUT [--seed 1] [--networks 4]

OUT/<network>/net.pth, net.json   random weights in the layout official, sidecar
OUT/<network>/input.npy           [N, 3, size, size]
OUT/<network>/logits.npy          [N, classes]
OUT/<network>/activations.npz     by module name, [N, C, H, W]
OUT/pictures/<name>.png           and <name>.npy, the crop that the network gets, uint8 [size, size, 3]
OUT/pictures/pictures.json        size and crop ratio by file name
"""

import argparse
import json
import math
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import data
from edgevit import PRESETS, Config, EdgeViT, GlobalSparseAttn, Mlp, feature_map
from export import sidecar


def random_config(rng):
    """A small network that differs from the presets wherever the layout can."""
    head = rng.choice([4, 6, 8])
    heads = sorted(rng.sample(range(1, 9), 4))
    return Config(
        classes=rng.randint(2, 20),
        size=rng.choice([64, 96]),
        depths=tuple(rng.randint(1, 2) for _ in range(4)),
        dims=tuple(head * n for n in heads),
        head_dim=head,
        rates=rng.choice([(4, 2, 2, 1), (2, 2, 1, 1), (4, 4, 2, 1), (8, 1, 2, 1)]),
        mlp_ratio=rng.randint(1, 4),
        block_layer_norm_eps=rng.choice([1e-6, 1e-3]),
        layer_norm_eps=rng.choice([1e-5, 1e-2]),
        batch_norm_eps=rng.choice([1e-5, 1e-2]),
    )


@torch.no_grad()
def randomise(model):
    """Random values for everything, running statistics too, which keep the
    scale of the activations, so that a wrong tensor shows in the logits."""
    transposed = {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.ConvTranspose2d)}
    for name, t in model.state_dict().items():
        if not t.is_floating_point():
            continue
        if t.ndim > 1:
            fan_in = 1 if name in transposed else t[0].numel()
            t.normal_(0, 1 / math.sqrt(fan_in))
        elif name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "running_var")):
            t.uniform_(0.5, 1.5)
        else:
            t.uniform_(-0.3, 0.3)


def activations(model, x):
    """The logits and every module's output, [N, C, H, W], by module name."""
    outputs = {}

    def keep(name, module):
        on_tokens = isinstance(module, (nn.Linear, nn.LayerNorm, Mlp, GlobalSparseAttn)) or name.endswith("SelfAttn.mlp.act")

        def hook(_, __, y):
            y = y.detach()
            if y.ndim == 2:
                y = y[:, :, None, None]
            elif on_tokens:
                y = feature_map(y)
            outputs[name] = y.contiguous().numpy().copy()

        return module.register_forward_hook(hook)

    hooks = [keep(name, m) for name, m in model.named_modules() if name and not name.endswith("drop_path") and not isinstance(m, nn.ModuleList)]
    with torch.no_grad():
        logits = model(x).numpy()
    for h in hooks:
        h.remove()
    return logits, outputs


def write_network(folder, config, batch):
    folder.mkdir(parents=True)
    model = EdgeViT(config).eval()
    randomise(model)
    x = torch.randn(batch, 3, config.size, config.size)
    logits, outputs = activations(model, x)
    torch.save(model.state_dict(), folder / "net.pth")
    labels = [f"class {i}" for i in range(config.classes)]
    (folder / "net.json").write_text(json.dumps(sidecar(folder.name, labels, config, 1.0, "random weights")))
    np.save(folder / "input.npy", x.numpy())
    np.save(folder / "logits.npy", logits)
    np.savez(folder / "activations.npz", **outputs)


def write_pictures(folder, rng):
    """Pictures of noise on a gradient: odd sides, both orientations, enlarged
    and reduced, grey, with alpha, of 16 bits."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(rng.randrange(1 << 30))
    settings = {}
    for i, (w, h, mode, size, ratio) in enumerate([
        (32, 32, "RGB", 64, 1.0), (301, 200, "RGB", 64, 0.875), (97, 211, "RGB", 96, 0.9), (50, 51, "L", 64, 1.0),
        (640, 427, "RGB", 224, 0.875), (120, 90, "RGBA", 64, 1.0), (65, 64, "RGB", 64, 1.0),
        (70, 80, "I;16", 64, 1.0),
    ]):  # fmt: skip
        ramp = np.linspace(0, 200, w)[None, :, None] * np.linspace(0.5, 1, h)[:, None, None]
        pixels = np.clip(ramp + noise.normal(20, 40, (h, w, 4)), 0, 255).astype(np.uint8)
        wide = pixels[:, :, 0].astype(np.uint16) * 256 + pixels[:, :, 1]
        channels = {"L": pixels[:, :, 0], "I;16": wide, "RGB": pixels[:, :, :3], "RGBA": pixels}[mode]
        path = folder / f"{i}.png"
        Image.fromarray(channels).save(path)
        np.save(path.with_suffix(".npy"), data.resize_and_crop(data.decode(path), size, ratio))
        settings[path.name] = {"size": size, "crop_ratio": ratio}
    (folder / "pictures.json").write_text(json.dumps(settings))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=Path)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--networks", type=int, default=4)
    args = p.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    for i in range(args.networks):
        write_network(args.out / f"random-{args.seed}-{i}", random_config(rng), 2)
    write_network(args.out / "xxs", PRESETS["xxs"], 1)
    write_pictures(args.out / "pictures", rng)


if __name__ == "__main__":
    main()
