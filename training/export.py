"""Writes OUT/model from OUT/checkpoint.pt: the weights, a sidecar, a model card.

    python export.py DATA OUT

The accuracy in the card is that of the file: it is read back, and the test
split goes through it.
"""

import argparse
import hashlib
import json
import math
import re
import sys
from pathlib import Path
from string import Template

import torch

import data
from edgevit import Config, EdgeViT
from train import accuracy, evaluate, save


def wilson(right, n, z=1.96):
    """95 % interval of a share, in percent."""
    p, d = right / n, 1 + z * z / n
    center, half = (p + z * z / (2 * n)) / d, z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / d
    return 100 * (center - half), 100 * (center + half)


def sidecar(name, labels, config, crop_ratio, note):
    """What tensors cannot tell; docs/models.md says what the service reads."""
    return {
        "name": name,
        "labels": labels,
        "preprocess": {
            "size": config.size, "resize": "shorter_side", "crop_ratio": crop_ratio, "filter": "bicubic",
            "mean": data.MEAN, "std": data.STD,
        },
        "config": {
            "heads": config.heads, "block_layer_norm_eps": config.block_layer_norm_eps,
            "layer_norm_eps": config.layer_norm_eps, "batch_norm_eps": config.batch_norm_eps,
        },
        "note": note,
    }  # fmt: skip


def per_class(labels, predicted, truth):
    """Rows of the card's table."""
    rows = []
    for i, label in enumerate(labels):
        counts = torch.bincount(predicted[truth == i], minlength=len(labels))
        n, right = int(counts.sum()), int(counts[i])
        counts[i] = 0
        wrong = labels[int(counts.argmax())] if counts.any() else "none"
        rows.append(f"| {label} | {n} | {100 * right / n:.1f} % | {wrong} |")
    return "\n".join(rows)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("data", help="as train.py's")
    p.add_argument("out", help="as train.py's")
    p.add_argument("--threads", type=int, default=0, help="0: PyTorch's choice")
    p.add_argument("--unfinished", action="store_true", help="export before the last step")
    args = p.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    out = Path(args.out)
    at = torch.load(out / "checkpoint.pt", map_location="cpu", weights_only=True)
    if at["step"] < at["steps"] and not args.unfinished:
        raise SystemExit(f"export: the training is at step {at['step']} of {at['steps']}: start it again, or take --unfinished")

    config, settings, name = Config.from_json(at["config"]), at["settings"], at["name"]
    labels = settings["labels"]
    stem = re.sub(r"[^a-z0-9._-]", "-", name.lower())[:64]
    folder = out / "model"
    folder.mkdir(exist_ok=True)
    path = folder / f"{stem}.pth"
    save(path, {k: v.contiguous() for k, v in at["ema"].items()})

    model = EdgeViT(config)
    model.load_state_dict(torch.load(path, weights_only=True))
    root = data.folder(args.data, out)
    if data.classes(root) != labels:
        raise SystemExit("export: the data has other classes than the checkpoint")
    test = data.load_test(root, config.size, settings["crop_ratio"])
    truth = torch.from_numpy(test.labels)
    logits = evaluate(model, test, torch.device("cpu"))
    n, predicted = len(truth), logits.argmax(1)
    top1, top5 = accuracy(logits, truth), accuracy(logits, truth, 5)
    low, high = wilson(int((predicted == truth).sum()), n)

    note = f"{100 * top1:.2f} % top-1 on {n} test pictures; trained on {settings['train_images']}"
    content = sidecar(name, labels, config, settings["crop_ratio"], note)
    (folder / f"{stem}.json").write_text(json.dumps(content, indent=1) + "\n")

    side = settings["train_side"]
    small = f"It was trained on pictures of {side} × {side} pixels: it expects one object that fills the frame, and sees no detail finer than that."
    large = "It was trained on pictures like those of the data set: an object that is much smaller, cut off or from the side may be missed."
    card = Template((Path(__file__).parent / "MODEL_CARD.md").read_text()).substitute(
        settings,
        name=name, file=stem, classes=len(labels), labels=", ".join(labels),
        parameters=f"{sum(p.numel() for p in model.parameters()):,}",
        size=config.size, resized=int(config.size / settings["crop_ratio"]), mean=data.MEAN, std=data.STD,
        depths=config.depths, dims=config.dims, heads=config.heads, rates=config.rates,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        top1=f"{100 * top1:.2f}", top5=f"{100 * top5:.2f}", low=f"{low:.2f}", high=f"{high:.2f}",
        confidence=f"{100 * logits.softmax(1).max(1).values.mean():.1f}",
        per_class=per_class(labels, predicted, truth),
        steps=at["step"], minutes=round(at["seconds"] / 60), start=settings["init"] or "random weights",
        train_top1=f"{100 * at['history'][-1]['train_top1']:.1f}" if at["history"] else "?",
        data_note=at["data_note"] or "Neither the source nor the licence of the data was stated at the training.",
        picture_limit=small if side < config.size else large,
    )  # fmt: skip
    (folder / "MODEL_CARD.md").write_text(card)
    print(f"{path}: top-1 {100 * top1:.2f} % ({low:.2f} to {high:.2f}), top-5 {100 * top5:.2f} %", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except (data.DataError, OSError) as err:
        raise SystemExit(f"export: {err}") from err
