"""Makes the images, goldens and cases.json of this folder with Pillow before 12.2 and torchvision.

    python make.py [FIXTURES]

From 12.2 on Pillow resizes some tall images vertically first (its pull requests 9524 and 9549), which moves the rounding
between the passes; all before, with which the published models and the project's fixtures were made, resize horizontally
first. FIXTURES is the project's fixtures/preprocess folder, from which a few files are copied with their goldens; without it
those in place are kept. The reference pipeline is reference(), below.
"""
import io
import json
import os
import shutil
import struct
import sys
import zlib

import numpy as np
import PIL
from PIL import Image, ImageOps
from torchvision import transforms as T

assert tuple(map(int, PIL.__version__.split(".")[:2])) < (12, 2), PIL.__version__
HERE = os.path.dirname(os.path.abspath(__file__))
FILTERS = {f: getattr(T.InterpolationMode, f.upper()) for f in ("bicubic", "bilinear", "lanczos", "nearest")}
cases = []


def rgb_on_white(im):
    """EXIF orientation, then RGB. What Pillow would clip (16-bit grey) keeps its high byte."""
    im = ImageOps.exif_transpose(im)
    if im.mode.startswith("I;16"):
        im = Image.fromarray((np.array(im) >> 8).astype(np.uint8))
    if im.has_transparency_data:
        im = im.convert("RGBA")
        white = Image.new("RGBA", im.size, "white")
        white.alpha_composite(im)
        im = white
    return im.convert("RGB")


def reference(im, size, resize, crop_ratio, filter):
    im = rgb_on_white(im)
    if resize == "squash":
        return T.Resize((size, size), FILTERS[filter])(im)
    return T.CenterCrop(size)(T.Resize(int(size / crop_ratio), FILTERS[filter])(im))


def case(name, file, data=None, size=32, resize="shorter_side", crop_ratio=0.875, filter="bicubic", tolerance="exact"):
    path = os.path.join(HERE, file)
    if data is not None:
        with open(path, "wb") as f:
            f.write(data)
    golden = f"golden/{name}.png"
    reference(Image.open(path), size, resize, crop_ratio, filter).save(os.path.join(HERE, golden), optimize=True)
    cases.append(dict(name=name, file=file, golden=golden, size=size, resize=resize, crop_ratio=crop_ratio, filter=filter,
                      tolerance=tolerance))


def picture(w, h, channels=3, seed=0):
    """A gradient with hard edges and noise, uint8 [h w channels]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:h, :w]
    planes = []
    for c in range(channels):
        p = 255 * (x * (c + 1) / (w * channels) + y / h) / 2
        p = np.where((x // 7 + y // (5 + c)) % 3 == 0, 255 - p, p) + rng.integers(-20, 20, (h, w))
        planes.append(p)
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def saved(im, format, **options):
    b = io.BytesIO()
    im.save(b, format, **options)
    return b.getvalue()


# PNG by hand: Pillow writes neither 16-bit colour nor interlacing.
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def png(a, depth, colour, interlace=False, **chunks):
    def packed(a):
        if depth == 16:
            return a.astype(">u2").tobytes()
        if depth == 8:
            return a.astype(np.uint8).tobytes()
        bits = ((a.reshape(-1, 1) >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8)
        return np.packbits(bits).tobytes()

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    h, w = a.shape[:2]
    passes = [a[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlace else [a]
    raw = b"".join(b"\0" + packed(row) for p in passes if p.size for row in p)
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, interlace))
    for name, body in chunks.items():
        out += chunk(name.encode(), body)
    return out + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")


def tiff(entries, body, order="<"):
    """A TIFF of body (at offset 8) and a directory of (tag, type, values)."""
    after = 8 + len(body) + len(body) % 2
    n = len(entries)
    directory, extra = struct.pack(order + "H", n), b""
    extra_at = after + 2 + 12 * n + 4
    for tag, type, values in sorted(entries):
        raw = struct.pack(order + str(len(values)) + {1: "B", 3: "H", 4: "I"}[type], *values)
        directory += struct.pack(order + "HHI", tag, type, len(values))
        if len(raw) <= 4:
            directory += raw.ljust(4, b"\0")
        else:
            directory += struct.pack(order + "I", extra_at + len(extra))
            extra += raw
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", after)
    return head + body + b"\0" * (len(body) % 2) + directory + b"\0\0\0\0" + extra


def bmp(rows, depth, w, h, palette=b"", top_down=False, core=False, gap=0):
    """rows: packed rows, top first, each padded here."""
    rows = [r + b"\0" * (-len(r) % 4) for r in (rows if top_down else rows[::-1])]
    if core:
        info = struct.pack("<IHHHH", 12, w, h, 1, depth)
    else:
        info = struct.pack("<IiiHHIIiiII", 40, w, -h if top_down else h, 1, depth, 0, 0, 0, 0, 0, 0)
    offset = 14 + len(info) + len(palette) + gap
    body = b"".join(rows)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + info + palette + b"\0" * gap + body


def exif(orientation, order="<"):
    return tiff([(274, 3, [orientation])], b"", order)


def make_png():
    a = picture(61, 47)
    for o in range(1, 9):
        case(f"orientation-{o}", f"orientation-{o}.png", png(a, 8, 2, eXIf=exif(o, "<>"[o % 2])))
    case("orientation-6-nearest", "orientation-6.png", filter="nearest")
    case("orientation-7-squash", "orientation-7.png", resize="squash", filter="lanczos")
    case("orientation-8-upscale", "orientation-8.png", size=64, filter="bilinear")
    rng = np.random.default_rng(1)
    wide = picture(61, 47, 4).astype(np.uint16) * 256 + rng.integers(0, 256, (47, 61, 4), dtype=np.uint16)
    case("png-grey16", "grey16.png", png(wide[..., 0], 16, 0))
    case("png-rgb16", "rgb16.png", png(wide[..., :3], 16, 2))
    case("png-rgba16", "rgba16.png", png(wide, 16, 6))
    case("png-la16", "la16.png", png(wide[..., :2], 16, 4))
    case("png-rgba", "rgba.png", png(picture(61, 47, 4), 8, 6))
    case("png-la", "la.png", png(picture(61, 47, 2), 8, 4))
    case("png-rgba-interlaced", "rgba-interlaced.png", png(picture(61, 47, 4, 2), 8, 6, True))
    case("png-rgb-interlaced", "rgb-interlaced.png", png(a, 8, 2, True))
    case("png-rgb-trns", "rgb-trns.png", png(a // 128 * 255, 8, 2, tRNS=struct.pack(">HHH", 255, 0, 255)))
    for depth in 1, 2, 4, 8:
        palette = picture(1 << min(depth, 6), 1, 3, depth)
        index = picture(61, 47, 1, depth)[..., 0].astype(int) * len(palette[0]) // 256
        alpha = bytes(range(0, 256, 256 // len(palette[0])))
        case(f"png-palette{depth}", f"palette{depth}.png", png(index, depth, 3, PLTE=palette.tobytes(), tRNS=alpha))
        if depth < 8:
            case(f"png-grey{depth}", f"grey{depth}.png", png(index, depth, 0, depth == 2))
    case("png-grey1-trns", "grey1-trns.png", png(picture(61, 47, 1)[..., 0] // 128, 1, 0, tRNS=b"\0\0"))


def make_shapes():
    for w, h in (1, 1), (1, 300), (300, 1), (2, 3), (4001, 3), (3, 2999), (63, 45), (45, 64), (37, 36):
        name = f"{w}x{h}"
        case(f"shape-{name}", f"{name}.png", saved(Image.fromarray(picture(w, h)), "PNG", optimize=True))
        case(f"shape-{name}-squash", f"{name}.png", resize="squash", filter="bilinear")
        case(f"shape-{name}-nearest", f"{name}.png", filter="nearest")
    case("shape-resized-already", "37x36.png", size=36, crop_ratio=1.0)
    case("shape-padded", "63x45.png", size=33, crop_ratio=1.3)
    case("shape-padded-both", "2x3.png", size=33, crop_ratio=2.0)
    file = "smooth.png"
    y, x = np.mgrid[:150, :211]
    smooth = np.stack([x // 2 + 20, y, 255 - (x + y) // 2], -1).astype(np.uint8)
    smooth[40:90, 60:130] = 255, 0, 10
    case("filter-bicubic", file, saved(Image.fromarray(smooth), "PNG", optimize=True), size=224)
    case("filter-bilinear", file, size=256, crop_ratio=1.0, filter="bilinear")
    case("filter-lanczos", file, size=384, filter="lanczos")
    case("filter-nearest", file, size=384, crop_ratio=1.0, filter="nearest")
    case("filter-lanczos-shrink", file, size=64, filter="lanczos")
    case("filter-nearest-shrink", file, size=64, filter="nearest")
    case("filter-bilinear-squash", file, size=64, resize="squash", filter="bilinear")
    case("filter-bicubic-squash", file, size=256, resize="squash")


def make_jpeg():
    a = Image.fromarray(picture(93, 75))
    for name, s in ("444", 0), ("422", 1), ("420", 2):
        case(f"jpeg-{name}", f"{name}.jpg", saved(a, "JPEG", quality=90, subsampling=s))
    case("jpeg-progressive", "progressive.jpg", saved(a, "JPEG", quality=90, progressive=True, subsampling=1))
    case("jpeg-progressive-restart", "progressive-restart.jpg", saved(a, "JPEG", progressive=True, restart_marker_blocks=5))
    case("jpeg-restart", "restart.jpg", saved(a, "JPEG", restart_marker_blocks=3))
    case("jpeg-grey", "grey.jpg", saved(a.convert("L"), "JPEG"))
    case("jpeg-rgb", "rgb.jpg", saved(a, "JPEG", keep_rgb=True, quality=90), tolerance="lossy")
    case("jpeg-narrow", "narrow.jpg", saved(a.resize((3, 40)), "JPEG", subsampling=2))
    # 4:4:0 from 4:2:2 by swapping the factors: blocks land elsewhere, which is still an image.
    d = bytearray(saved(Image.fromarray(picture(96, 64)), "JPEG", quality=90, subsampling=1))
    sof = d.index(b"\xff\xc0")
    d[sof + 5:sof + 9] = struct.pack(">HH", 128, 48)
    d[sof + 11] = 0x12
    case("jpeg-440", "440.jpg", bytes(d))
    # 4:1:1 from 4:2:0, which has as many blocks in an MCU.
    d = bytearray(saved(Image.fromarray(picture(64, 96)), "JPEG", quality=90, subsampling=2))
    sof = d.index(b"\xff\xc0")
    d[sof + 5:sof + 9] = struct.pack(">HH", 47, 125)
    d[sof + 11] = 0x41
    case("jpeg-411", "411.jpg", bytes(d))
    cmyk = saved(Image.fromarray(picture(93, 75, 4), "CMYK"), "JPEG", quality=90)
    case("jpeg-cmyk", "cmyk.jpg", cmyk, tolerance="lossy")
    adobe = cmyk.index(b"\xff\xee")
    ycck = bytearray(cmyk)
    ycck[adobe + 15] = 2
    case("jpeg-ycck", "ycck.jpg", bytes(ycck), tolerance="lossy")
    case("jpeg-cmyk-no-adobe", "cmyk-no-adobe.jpg", cmyk[:adobe] + cmyk[adobe + 16:], tolerance="lossy")
    for o in 3, 6:
        case(f"jpeg-orientation-{o}", f"orientation-{o}.jpg", saved(a, "JPEG", exif=b"Exif\0\0" + exif(o)))


def make_webp():
    a, b = picture(61, 47), picture(61, 47, 4, 3)
    smooth = Image.fromarray(b).resize((20, 16)).resize((61, 47), Image.BICUBIC)
    case("webp-lossless", "lossless.webp", saved(Image.fromarray(a), "WEBP", lossless=True))
    case("webp-lossless-alpha", "lossless-alpha.webp", saved(Image.fromarray(b), "WEBP", lossless=True, exact=True))
    case("webp-lossless-palette", "palette.webp", saved(Image.fromarray(a // 128 * 255), "WEBP", lossless=True))
    # Parts unlike each other, so that each gets Huffman trees of its own.
    parts = np.concatenate([picture(96, 96) // 64 * 64, np.kron(picture(12, 12, 3, 5), np.ones((8, 8, 1), np.uint8)), picture(48, 96, 3, 7)], 1)
    case("webp-lossless-groups", "lossless-groups.webp", saved(Image.fromarray(parts), "WEBP", lossless=True, method=6, quality=100))
    case("webp-lossy", "lossy.webp", saved(smooth.convert("RGB"), "WEBP"), tolerance="lossy")
    case("webp-lossy-alpha", "alpha.webp", saved(smooth, "WEBP"), tolerance="lossy")
    case("webp-orientation", "orientation-5.webp", saved(Image.fromarray(a), "WEBP", lossless=True, exif=exif(5)))
    for name, im in ("alpha", b), ("opaque", a):
        frames = [Image.fromarray(im), Image.fromarray(255 - im)]
        d = bytearray(saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True, duration=40))
        case(f"webp-animated-{name}", f"animated-{name}.webp", bytes(d))
        # The same on a larger canvas, away from its corner.
        d[24:27], d[27:30] = struct.pack("<I", 80)[:3], struct.pack("<I", 70)[:3]
        at = d.index(b"ANMF") + 8
        d[at:at + 6] = struct.pack("<I", 4)[:3] + struct.pack("<I", 7)[:3]
        case(f"webp-offset-{name}", f"offset-{name}.webp", bytes(d))


def make_gif():
    p = Image.fromarray(picture(61, 47)).quantize(16)

    def moved(d, x, y, w, h):
        d = bytearray(d)
        d[6:10] = struct.pack("<HH", w, h)
        at = d.rindex(b"," + struct.pack("<HHHH", 0, 0, 61, 47)) + 1
        d[at:at + 4] = struct.pack("<HH", x, y)
        return bytes(d)

    plain, clear = saved(p, "GIF"), saved(p, "GIF", transparency=3)
    case("gif-plain", "plain.gif", plain)
    case("gif-interlaced", "interlaced.gif", saved(p, "GIF", interlace=True))
    case("gif-transparent", "transparent.gif", clear)
    case("gif-offset", "offset.gif", moved(plain, 9, 20, 90, 70))
    case("gif-offset-transparent", "offset-transparent.gif", moved(clear, 9, 20, 90, 70))
    case("gif-beyond-screen", "beyond-screen.gif", moved(plain, 9, 20, 30, 30))
    case("gif-animated", "animated.gif", saved(p, "GIF", save_all=True, append_images=[Image.fromarray(picture(61, 47, 3, 9))]))


def make_bmp():
    a = picture(61, 47)
    bgr, bgra = a[..., ::-1], picture(61, 47, 4)
    rows = [r.tobytes() for r in bgr]
    case("bmp-24", "24.bmp", bmp(rows, 24, 61, 47))
    case("bmp-24-top-down", "24-top-down.bmp", bmp(rows, 24, 61, 47, top_down=True))
    case("bmp-24-gap", "24-gap.bmp", bmp(rows, 24, 61, 47, gap=10))
    case("bmp-24-os2", "24-os2.bmp", bmp(rows, 24, 61, 47, core=True))
    case("bmp-32", "32.bmp", bmp([r.tobytes() for r in bgra], 32, 61, 47))
    case("bmp-32-alpha", "32-alpha.bmp", saved(Image.fromarray(bgra), "BMP"))
    for depth in 1, 4, 8:
        n = 1 << depth
        index = picture(61, 47, 1)[..., 0].astype(int) * n // 256
        bits = ((index[..., None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8).reshape(47, -1)
        palette = np.concatenate([picture(n, 1, 3)[0], np.zeros((n, 1), np.uint8)], 1).tobytes()
        case(f"bmp-{depth}", f"{depth}.bmp", bmp([np.packbits(r).tobytes() for r in bits], depth, 61, 47, palette))


def make_tiff():
    a = picture(61, 47)
    im = Image.fromarray(a)
    for c in "raw", "tiff_lzw", "tiff_adobe_deflate", "packbits":
        case(f"tiff-{c}", f"{c}.tiff", saved(im, "TIFF", compression=c))
    case("tiff-predictor", "predictor.tiff", saved(im, "TIFF", compression="tiff_lzw", tiffinfo={317: 2}))
    case("tiff-grey", "grey.tiff", saved(im.convert("L"), "TIFF"))
    case("tiff-palette", "palette.tiff", saved(im.quantize(40), "TIFF", compression="tiff_lzw"))
    case("tiff-bilevel", "bilevel.tiff", saved(im.convert("1"), "TIFF"))
    case("tiff-group4", "group4.tiff", saved(im.convert("1"), "TIFF", compression="group4"))
    case("tiff-cmyk", "cmyk.tiff", saved(Image.fromarray(picture(61, 47, 4), "CMYK"), "TIFF", compression="tiff_adobe_deflate"))
    case("tiff-rgba", "rgba.tiff", saved(Image.fromarray(picture(61, 47, 4)), "TIFF", compression="tiff_lzw"))
    case("tiff-orientation", "orientation-8.tiff", saved(im, "TIFF", compression="tiff_lzw", tiffinfo={274: 8}))
    grey16 = picture(61, 47, 1)[..., 0].astype(np.uint16) * 257
    case("tiff-grey16", "grey16.tiff", saved(Image.fromarray(grey16), "TIFF", compression="tiff_lzw"))
    size = [(256, 4, [61]), (257, 4, [47]), (262, 3, [2]), (277, 3, [3])]
    wide = (a.astype(np.uint16) * 256 + 99).astype(">u2").tobytes()
    case("tiff-rgb16", "rgb16.tiff", tiff(size + [(258, 3, [16] * 3), (259, 3, [1]), (273, 4, [8]), (278, 4, [47]),
                                                (279, 4, [len(wide)])], wide, ">"))
    tiles, offsets, counts = b"", [], []
    padded = np.zeros((64, 64, 3), np.uint8)
    padded[:47, :61] = a
    for y in range(0, 48, 16):
        for x in range(0, 64, 32):
            t = zlib.compress(padded[y:y + 16, x:x + 32].tobytes(), 9)
            offsets.append(8 + len(tiles))
            counts.append(len(t))
            tiles += t
    case("tiff-tiled", "tiled.tiff", tiff(size + [(258, 3, [8] * 3), (259, 3, [8]), (322, 3, [32]), (323, 3, [16]),
                                                (324, 4, offsets), (325, 4, counts)], tiles))


def copy_fixtures(folder):
    """A few of the project's own goldens: resize 256, crop 224, bicubic."""
    golden = np.load(os.path.join(folder, "golden.npz"))
    for file, tolerance in ("small.png", "exact"), ("photo420.jpg", "exact"), ("photo.webp", "lossy"):
        shutil.copy(os.path.join(folder, file), os.path.join(HERE, "fixture-" + file))
        name = "fixture-" + file.replace(".", "-")
        Image.fromarray(golden[file]).save(os.path.join(HERE, f"golden/{name}.png"), optimize=True)


def list_fixtures():
    for file, tolerance in ("small.png", "exact"), ("photo420.jpg", "exact"), ("photo.webp", "lossy"):
        name = "fixture-" + file.replace(".", "-")
        cases.append(dict(name=name, file="fixture-" + file, golden=f"golden/{name}.png", size=224, resize="shorter_side",
                          crop_ratio=0.875, filter="bicubic", tolerance=tolerance))


os.makedirs(os.path.join(HERE, "golden"), exist_ok=True)
if len(sys.argv) > 1:
    copy_fixtures(sys.argv[1])
list_fixtures()
make_png()
make_shapes()
make_jpeg()
make_webp()
make_gif()
make_bmp()
make_tiff()
with open(os.path.join(HERE, "cases.json"), "w") as f:
    f.write("[\n" + ",\n".join(" " + json.dumps(c) for c in cases) + "\n]\n")
