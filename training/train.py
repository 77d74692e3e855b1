"""Trains an EdgeViT on a folder of pictures; the result is the weights' EMA.

    python train.py DATA OUT [--preset demo] [--epochs 30]

Started again with the same OUT it goes on from the last checkpoint, to the
same weights as without the stop: the random numbers of a step depend on the
seed and the step only.
"""

import argparse
import json
import math
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional as F

import data
from augment import augment
from edgevit import PRESETS, EdgeViT


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("data", help="folder with train/<class>/* and test/<class>/*, or an archive of one")
    p.add_argument("out", help="folder for checkpoints, metrics and the model")
    p.add_argument("--preset", choices=PRESETS, default="demo")
    p.add_argument("--size", type=int, help="side of the input in pixels; default: the preset's")
    p.add_argument("--crop-ratio", type=float, default=1.0, help="of the test pictures: shorter side to size / ratio, then the centre")
    p.add_argument("--init", help="checkpoint (.pth, official layout) to start from; another number of classes is fine")
    p.add_argument("--epochs", type=int, default=30)
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--lr", type=float, default=2e-3, help="the highest; warm-up over 4 %% of the steps, then a cosine to 1e-5")
    p.add_argument("--weight-decay", type=float, default=0.05, help="none on biases and norms")
    p.add_argument("--label-smoothing", type=float, default=0.05)
    p.add_argument("--drop-path", type=float, default=0.05)
    p.add_argument("--ema", type=float, default=0.999, help="decay a step")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--name", default="edgevit", help="the exported model's name")
    p.add_argument("--data-note", default="", help="what the model card says of the data: source, citation, licence")
    p.add_argument("--checkpoint-steps", type=int, default=500)
    p.add_argument("--max-steps", type=int, help="stop after that many steps in all, as a signal would; for tests")
    p.add_argument("--threads", type=int, default=0, help="0: PyTorch's choice")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return p.parse_args()


# What a resumed run may change.
FREE = {"data", "out", "name", "data_note", "checkpoint_steps", "max_steps", "threads", "device"}

LAST_LR = 1e-5
WARM_UP = 0.04


def learning_rate(step, steps, highest):
    warm = max(1, round(steps * WARM_UP))
    if step < warm:
        return highest * (step + 1) / warm
    return LAST_LR + (highest - LAST_LR) * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2


def optimizer_for(model, args):
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": args.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.999), fused=True)


@torch.no_grad()
def average(ema, model, decay):
    """Moves ema, weights and running statistics, towards model."""
    pairs = [(e, m) for e, m in zip(ema.state_dict().values(), model.state_dict().values()) if e.is_floating_point()]
    torch._foreach_lerp_([e for e, _ in pairs], [m for _, m in pairs], 1 - decay)


def normalise(x):
    """float [N, 3, H, W], 0..1, to the network's input."""
    mean, std = (torch.tensor(v, device=x.device).view(3, 1, 1) for v in (data.MEAN, data.STD))
    return (x - mean) / std


@torch.no_grad()
def evaluate(model, split, device, batch=250):
    """Logits [N, classes] of the pictures of data.load_test, on the CPU."""
    model.eval()
    logits = []
    for i in range(0, len(split.images), batch):
        x = torch.from_numpy(split.images[i : i + batch]).to(device).permute(0, 3, 1, 2).float() / 255
        logits.append(model(normalise(x)).cpu())
    return torch.cat(logits)


def accuracy(logits, labels, k=1):
    """Share of the pictures whose class is among the first k."""
    k = min(k, logits.shape[1])
    return (logits.topk(k).indices == labels[:, None]).any(1).float().mean().item()


def save(path, content):
    """Writes a checkpoint whole or not at all."""
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as f:
        torch.save(content, f)
        f.flush()
        os.fsync(f.fileno())
    os.replace(partial, path)


def initialise(model, path):
    """Loads all tensors of path that fit; those of another head do not."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        state = state.get(key, state)
    own = model.state_dict()
    wrong = [k for k in own if not k.startswith("head.") and (k not in state or state[k].shape != own[k].shape)]
    if wrong:
        raise SystemExit(f"{path} does not fit the preset: {len(wrong)} tensors, the first is {wrong[0]}")
    model.load_state_dict({k: v for k, v in state.items() if k in own and v.shape == own[k].shape}, strict=False)


class Progress:
    """A line with images/s and the time left, every half second on a terminal,
    else twice a minute."""

    def __init__(self, total, done):
        self.total, self.first, self.begin = total, done, time.monotonic()
        self.terminal = sys.stderr.isatty()
        self.every = 0.5 if self.terminal else 30
        self.next = self.begin + self.every
        self.pause = 0.0  # seconds not spent on training

    def speed(self, done):
        """Steps a second since the start of this process."""
        return (done - self.first) / max(time.monotonic() - self.begin - self.pause, 1e-9)

    def show(self, done, batch, text):
        if time.monotonic() < self.next and done < self.total:
            return
        self.next = time.monotonic() + self.every
        speed = self.speed(done)
        left = (self.total - done) / max(speed, 1e-9)
        line = f"step {done}/{self.total} {100 * done / self.total:.1f} %  {speed * batch:.0f} images/s  {left / 60:.0f} min left  {text}"
        print("\r\033[K" + line if self.terminal else line, end="" if self.terminal else "\n", file=sys.stderr, flush=True)


def main():
    args = arguments()
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    device = torch.device(args.device)

    root = data.folder(args.data, out)
    labels = data.classes(root)
    preset = PRESETS[args.preset]
    config = replace(preset, classes=len(labels), size=args.size or preset.size, drop_path=args.drop_path)
    try:
        config.check()
    except ValueError as err:
        raise SystemExit(f"train: {err}") from err
    print(f"reading pictures of {len(labels)} classes", file=sys.stderr)
    train, test = data.load_train(root, config.size), data.load_test(root, config.size, args.crop_ratio)
    images, targets = torch.from_numpy(train.images).to(device), torch.from_numpy(train.labels).to(device)
    test_labels = torch.from_numpy(test.labels)
    epoch_steps = len(images) // args.batch
    steps = epoch_steps * args.epochs
    if steps == 0:
        raise SystemExit(f"{len(images)} pictures make no batch of {args.batch}: take a smaller --batch")

    torch.manual_seed(args.seed)
    model = EdgeViT(config).to(device)
    if args.init:
        initialise(model, args.init)
    ema = EdgeViT(config).to(device)
    ema.load_state_dict(model.state_dict())
    optimizer = optimizer_for(model, args)

    settings = {k: v for k, v in vars(args).items() if k not in FREE}
    settings |= {"labels": labels, "train_images": len(images), "test_images": len(test.images), "train_side": images.shape[1]}
    path = out / "checkpoint.pt"
    step = trained = 0
    seconds = 0.0
    sums = torch.zeros(2, dtype=torch.float64)  # loss, pictures right, of this epoch
    history = []
    if path.exists():
        at = torch.load(path, map_location=device, weights_only=True)
        changed = [k for k in settings if at["settings"].get(k) != settings[k]]
        if changed:
            raise SystemExit(f"{path} was trained with other settings ({', '.join(changed)}): take another folder")
        model.load_state_dict(at["model"])
        ema.load_state_dict(at["ema"])
        optimizer.load_state_dict(at["optimizer"])
        step, seconds, sums, history = at["step"], at["seconds"], at["sums"].cpu(), at["history"]
        print(f"going on from step {step}", file=sys.stderr)
    # Epochs after the checkpoint are trained again, so their lines go.
    (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in history))

    stop = []
    for s in (signal.SIGINT, signal.SIGTERM):
        signal.signal(s, lambda number, _: stop.append(number))
    progress = Progress(steps, step)
    begin = time.monotonic()

    def checkpoint():
        save(path, {
            "step": step, "steps": steps, "seconds": seconds + time.monotonic() - begin, "sums": sums, "history": history,
            "settings": settings, "config": config.to_json(), "name": args.name, "data_note": args.data_note,
            "model": model.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict(),
        })  # fmt: skip

    while step < steps:
        epoch, at = divmod(step, epoch_steps)
        if at == 0 or trained == 0:
            order = torch.randperm(len(images), generator=torch.Generator().manual_seed(args.seed + epoch))
        # One stream of random numbers a step: augmentation, then DropPath.
        torch.manual_seed((args.seed << 32) + step)
        chosen = order[at * args.batch : (at + 1) * args.batch].to(device)
        x, y = normalise(augment(images[chosen], config.size)), targets[chosen]

        model.train()
        logits = model(x)
        loss = F.cross_entropy(logits, y, label_smoothing=args.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        lr = learning_rate(step, steps, args.lr)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        average(ema, model, min(args.ema, (1 + step) / (10 + step)))
        sums += torch.tensor([loss.item(), (logits.argmax(1) == y).float().mean().item()])
        step, trained = step + 1, trained + 1
        if not math.isfinite(sums[0]):
            raise SystemExit(f"the loss is not finite at step {step}: take a smaller --lr")

        if step % epoch_steps == 0:
            speed = progress.speed(step) * args.batch
            paused = time.monotonic()
            logits = evaluate(ema, test, device)
            train_loss, train_top1 = (sums / epoch_steps).tolist()
            line = {
                "epoch": epoch + 1, "step": step, "lr": round(lr, 7),
                "train_loss": round(train_loss, 4), "train_top1": round(train_top1, 4),
                "test_loss": round(F.cross_entropy(logits, test_labels).item(), 4),
                "test_top1": round(accuracy(logits, test_labels), 4), "test_top5": round(accuracy(logits, test_labels, 5), 4),
                "images_per_s": round(speed, 1), "seconds": round(seconds + time.monotonic() - begin, 1),
            }  # fmt: skip
            history.append(line)
            with open(out / "metrics.jsonl", "a") as f:
                f.write(json.dumps(line) + "\n")
            print(("\r\033[K" if progress.terminal else "") + json.dumps(line), flush=True)
            sums = torch.zeros(2, dtype=torch.float64)
            progress.pause += time.monotonic() - paused
        progress.show(step, args.batch, f"loss {loss.item():.3f}")
        halt = stop or step == args.max_steps
        if step % args.checkpoint_steps == 0 or halt:
            checkpoint()
        if halt and step < steps:
            print(f"\nstopped at step {step}; the same command goes on", file=sys.stderr)
            raise SystemExit(3)
    checkpoint()
    if progress.terminal:
        print(file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except data.DataError as err:
        raise SystemExit(f"train: {err}") from err
