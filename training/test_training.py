"""python -m unittest: the network, resuming, exporting."""

import json
import subprocess
import sys
import unittest
from pathlib import Path

import torch

from edgevit import PRESETS, EdgeViT
from test_data import Folder, data_set

HERE = Path(__file__).parent


class Definition(unittest.TestCase):
    def test_parameters(self):
        for name, want in (("xxs", 4_067_704), ("xs", 6_770_056), ("s", 13_108_168), ("demo", 1_694_506)):
            self.assertEqual(sum(p.numel() for p in EdgeViT(PRESETS[name]).parameters()), want, name)

    def test_sizes(self):
        for size in (100, 48):
            with self.assertRaisesRegex(ValueError, "stage"):
                EdgeViT(PRESETS["demo"].__class__(size=size))


class Training(Folder):
    FLAGS = ("--epochs", "3", "--batch", "4", "--threads", "1", "--device", "cpu")

    def run_script(self, script, *args, code=0):
        p = subprocess.run([sys.executable, HERE / script, *map(str, args)], capture_output=True, text=True)
        self.assertEqual(p.returncode, code, p.stderr)
        return p.stderr

    def test_resume(self):
        """A stop changes nothing: not in an epoch, not at its end."""
        root = self.folder / "data"
        data_set(root)
        outs = [self.folder / name for name in ("whole", "parts")]
        self.run_script("train.py", root, outs[0], *self.FLAGS)
        for steps in (3, 8):
            self.run_script("train.py", root, outs[1], *self.FLAGS, "--max-steps", steps, code=3)
        self.run_script("export.py", root, outs[1], code=1)
        self.run_script("train.py", root, outs[1], *self.FLAGS, "--name", "Dark & light")
        states = [torch.load(out / "checkpoint.pt", weights_only=True) for out in outs]
        for key in ("model", "ema"):
            for name, t in states[0][key].items():
                self.assertTrue(torch.equal(t, states[1][key][name]), f"{key} {name}")
        metrics = [[json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()] for out in outs]
        for key in ("epoch", "step", "train_loss", "test_loss"):
            self.assertEqual([m[key] for m in metrics[0]], [m[key] for m in metrics[1]])
        message = self.run_script("train.py", root, outs[1], *self.FLAGS, "--lr", "1", code=1)
        self.assertIn("other settings (lr)", message)

        self.run_script("export.py", root, outs[1])
        folder = outs[1] / "model"
        self.assertEqual(sorted(p.name for p in folder.iterdir()), ["MODEL_CARD.md", "dark---light.json", "dark---light.pth"])
        side = json.loads((folder / "dark---light.json").read_text())
        self.assertEqual((side["name"], side["labels"], side["preprocess"]["size"]), ("Dark & light", ["dark", "light"], 64))
        self.assertNotIn("$", (folder / "MODEL_CARD.md").read_text())

        # Another data set from these weights: the head is new.
        self.run_script("train.py", root, self.folder / "tuned", *self.FLAGS, "--init", folder / "dark---light.pth", "--max-steps", 1, code=3)


if __name__ == "__main__":
    unittest.main()
