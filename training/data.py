"""Pictures from a folder or an archive to arrays in memory.

The data set: train/<class>/* and test/<class>/*, in a folder or an archive of
one, or the official cifar-10-python.tar.gz. Classes are numbered in the order of
their names.
"""

import pickle
import re
import shutil
import stat
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB, for values 0..1
STD = (0.229, 0.224, 0.225)
SPLITS = ("train", "test")
EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}
MAX_FILES = 2_000_000
MAX_BYTES = 64 << 30  # of an archive's content
MAX_PIXELS = 64 << 20  # of one picture
MAX_BATCH = 64 << 20  # bytes of one of CIFAR-10's batches

Image.MAX_IMAGE_PIXELS = MAX_PIXELS


class DataError(Exception):
    """Says in one sentence what is wrong with the data set."""


@dataclass
class Split:
    images: np.ndarray  # uint8 [N, H, W, 3]
    labels: np.ndarray  # int64 [N]


def folder(path, work):
    """The data set's folder; an archive is unpacked into work first, once."""
    path, work = Path(path), Path(work)
    if path.is_dir():
        return path
    if not path.is_file():
        raise DataError(f"{path} is neither a folder nor an archive")
    target = work / "data"
    if not target.is_dir():
        partial = work / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        unpack(path, partial)
        partial.rename(target)  # only a whole data set gets the name
    return target


def unpack(archive, target):
    """Writes an archive's pictures to target/<split>/<class>/<file>.

    Other members are left out: links, devices, absolute paths, '..'. Folders
    above the split are taken off.
    """
    files = size = 0

    def place(name):
        parts = PurePosixPath(name).parts
        at = next((i for i, part in enumerate(parts) if part in SPLITS), None)
        if at is None or len(parts) != at + 3 or ".." in parts or "\\" in name or parts[0] == "/":
            return None
        if parts[-1].startswith(".") or Path(parts[-1]).suffix.lower() not in EXTENSIONS:
            return None
        return target.joinpath(*parts[at:])

    def write(name, length, stream):
        nonlocal files, size
        to = place(name)
        if to is None:
            return
        files, size = files + 1, size + length
        if files > MAX_FILES or size > MAX_BYTES:
            raise DataError(f"{archive} holds more than {MAX_FILES} files or {MAX_BYTES} bytes")
        to.parent.mkdir(parents=True, exist_ok=True)
        with open(to, "xb") as f:
            shutil.copyfileobj(stream, f)

    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as z:
            for m in z.infolist():
                if not m.is_dir() and not stat.S_ISLNK(m.external_attr >> 16):
                    with z.open(m) as stream:
                        write(m.filename, m.file_size, stream)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive, "r:*") as t:
            batches = {m.name.removeprefix("./"): m for m in t if m.isreg()}
            if CIFAR + "batches.meta" in batches:
                return unpack_cifar(t, batches, target)
            for m in t:
                if m.isreg():
                    write(m.name, m.size, t.extractfile(m))
    else:
        raise DataError(f"{archive} is neither a tar nor a zip archive")
    if files == 0:
        raise DataError(f"{archive} holds no pictures at train/<class>/ or test/<class>/")


CIFAR = "cifar-10-batches-py/"


class Plain(pickle.Unpickler):
    """Reads plain data and NumPy arrays of numbers; a pickle can name nothing else."""

    def find_class(self, module, name):
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.zeros(0, np.uint8).__reduce__()[0]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):  # of bytes, in old protocols
            return lambda text, encoding: text.encode("latin1")
        raise DataError(f"a batch of CIFAR-10 names {module}.{name}, which is no data")


def unpack_cifar(t, members, target):
    """Writes the pictures of cifar-10-python.tar.gz as PNG, losslessly."""

    def load(name):
        m = members.get(CIFAR + name)
        if m is None or m.size > MAX_BATCH:
            raise DataError(f"{t.name} holds no {CIFAR}{name}, or one of more than {MAX_BATCH} bytes")
        try:
            batch = Plain(t.extractfile(m), encoding="bytes").load()
            return {k.decode() if isinstance(k, bytes) else k: v for k, v in batch.items()}
        except DataError:
            raise
        except Exception as err:  # whatever a damaged pickle gives
            raise DataError(f"{t.name}, {name}: {err}") from err

    names = [n.decode() if isinstance(n, bytes) else n for n in load("batches.meta").get("label_names", [])]
    if len(names) < 2 or not all(re.fullmatch(r"\w+", n) for n in names):
        raise DataError(f"{t.name}: batches.meta names the classes {names}")
    for name in [n.removeprefix(CIFAR) for n in members if re.fullmatch(CIFAR + r"(data_batch_\d|test_batch)", n)]:
        batch = load(name)
        pixels, labels = batch.get("data"), batch.get("labels", [])
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape != (len(labels), 3072):
            raise DataError(f"{t.name}, {name}: not {len(labels)} pictures of 32 x 32")
        split = "test" if name == "test_batch" else "train"
        for i, (planes, label) in enumerate(zip(pixels.reshape(-1, 3, 32, 32), labels)):
            if label not in range(len(names)):
                raise DataError(f"{t.name}, {name}: picture {i} is of class {label}")
            to = target / split / names[label] / f"{name}_{i:05}.png"
            to.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0))).save(to)
    if not all((target / s).is_dir() for s in SPLITS):
        raise DataError(f"{t.name} lacks data_batch_1 to 5 or test_batch")


def classes(root):
    """The names of the classes, sorted; both splits must have the same."""
    found = [sorted(p.name for p in (root / s).iterdir() if p.is_dir()) if (root / s).is_dir() else None for s in SPLITS]
    if None in found:
        raise DataError(f"{root} has no folder {SPLITS[found.index(None)]}/")
    if found[0] != found[1]:
        raise DataError(f"train/ and test/ have different classes: {sorted(set(found[0]) ^ set(found[1]))}")
    if len(found[0]) < 2:
        raise DataError(f"{root}/train has {len(found[0])} classes, want 2 or more")
    return found[0]


def files(root, split):
    """(path, class) of every picture of a split, in the order of their paths."""
    pairs = []
    for label, name in enumerate(classes(root)):
        here = [p for p in sorted((root / split / name).iterdir()) if p.suffix.lower() in EXTENSIONS]
        if not here:
            raise DataError(f"{root / split / name} holds no pictures")
        pairs += [(p, label) for p in here]
    return pairs


def decode(path):
    """An RGB picture as the service sees it: upright, alpha on white, 16 bits cut to 8."""
    try:
        with Image.open(path) as im:
            im = ImageOps.exif_transpose(im)
            if im.mode.startswith("I;16"):
                im = Image.fromarray((np.asarray(im) >> 8).astype(np.uint8))
            if im.mode in ("RGBA", "LA", "PA") or "transparency" in im.info:
                im = im.convert("RGBA")
                im = Image.alpha_composite(Image.new("RGBA", im.size, "white"), im)
            return im.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as err:
        raise DataError(f"{path}: {err}") from err


def resize_and_crop(im, size, crop_ratio):
    """The service's preprocessing up to /255, as torchvision does it: the
    shorter side to size / crop_ratio by Pillow's bicubic filter, then the
    centre. RGB picture to uint8 [size, size, 3]."""
    w, h = im.size
    side = int(size / crop_ratio)
    to = (side, int(side * h / w)) if w <= h else (int(side * w / h), side)
    if to != im.size:
        im = im.resize(to, Image.Resampling.BICUBIC)
    left, top = round((to[0] - size) / 2), round((to[1] - size) / 2)
    return np.asarray(im.crop((left, top, left + size, top + size)))


def load_test(root, size, crop_ratio):
    """The test split, each picture exactly as the service's network sees it."""
    pairs = files(root, "test")
    images = np.empty((len(pairs), size, size, 3), np.uint8)
    for i, (path, _) in enumerate(pairs):
        images[i] = resize_and_crop(decode(path), size, crop_ratio)
    return Split(images, np.array([label for _, label in pairs]))


def load_train(root, size):
    """The train split, for augmentation: squares of one side, their own where
    all pictures are squares of one side up to size, else size (centre crop)."""
    pairs = files(root, "train")
    side = decode(pairs[0][0]).size
    native = side[0] == side[1] <= size
    images = np.empty((len(pairs), side[0], side[0], 3) if native else (len(pairs), size, size, 3), np.uint8)
    i = 0
    while i < len(pairs):
        im = decode(pairs[i][0])
        if native and im.size != side:
            native, images, i = False, np.empty((len(pairs), size, size, 3), np.uint8), 0
            continue
        images[i] = np.asarray(im) if native else resize_and_crop(im, size, 1.0)
        i += 1
    return Split(images, np.array([label for _, label in pairs]))
