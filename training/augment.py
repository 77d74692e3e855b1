"""Augmentation on whole batches: one affine resample, then small changes of
sharpness, contrast and brightness."""

import torch
from torch.nn import functional as F


def uniform(n, low, high, device):
    return torch.empty(n, device=device).uniform_(low, high)


def augment(images, size):
    """uint8 [N, H, W, 3] to float [N, 3, size, size], 0..1, changed at random.

    Flip, zoom, aspect, shift and the enlargement to size are one resample, so
    that a picture is blurred once. 60 % bicubic, 40 % bilinear, a batch each:
    the network should not depend on the filter.
    """
    n, device = len(images), images.device
    x = images.permute(0, 3, 1, 2).float().div_(255)

    window = uniform(n, 0.8, 1.05, device)  # share of the picture that is seen
    aspect = uniform(n, 0.93, 1.07, device).sqrt()
    flip = torch.randint(0, 2, (n,), device=device) * 2 - 1
    theta = torch.zeros(n, 2, 3, device=device)
    theta[:, 0, 0] = window * aspect * flip
    theta[:, 1, 1] = window / aspect
    theta[:, :, 2] = uniform((n, 2), -0.25, 0.25, device)  # of half a side
    grid = F.affine_grid(theta, (n, 3, size, size), align_corners=False)
    mode = "bicubic" if torch.rand(()) < 0.6 else "bilinear"
    x = F.grid_sample(x, grid, mode, padding_mode="reflection", align_corners=False)

    # Half of the pictures: away from their blurred selves, or towards them.
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), "reflect"), 3, stride=1)
    sharpen = uniform(n, -0.8, 0.8, device) * torch.randint(0, 2, (n,), device=device)
    x = torch.lerp(x, blurred, sharpen.view(n, 1, 1, 1))

    mean = x.mean((1, 2, 3), keepdim=True)
    contrast = uniform(n, 0.75, 1.25, device).view(n, 1, 1, 1)
    brightness = uniform(n, -0.1, 0.1, device).view(n, 1, 1, 1)
    return ((x - mean) * contrast + mean + brightness).clamp_(0, 1)
