"""Writes the reference tensors that the worker's tests compare with: make_tensors.py MODELS_DIR OUT_DIR.

Each file is raw little-endian f32, [3][height][width]: input.f32 and output-x2.f32, -x3, -x4. Run by scripts/reference/make-tensors.
"""

import sys

import numpy as np
import torch

from compact_net import Net

HEIGHT, WIDTH = 21, 27


def picture():
    """Smooth colours, edges and a little grain, on a side that no tile or vector divides."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    random = np.random.default_rng(7)
    planes = [0.5 + 0.4 * np.sin(x / 5) * np.cos(y / 7), 0.5 + 0.4 * np.cos((x + y) / 9), (x * y) / (HEIGHT * WIDTH)]
    planes = np.stack(planes)
    planes[:, 6:13, 8:17] = np.array([0.95, 0.1, 0.2])[:, None, None]
    planes[:, 12:, 22:24] = 0.02
    planes += random.normal(0, 0.02, planes.shape)
    # Bytes, as a photo has them.
    return np.round(np.clip(planes, 0, 1) * 255) / 255


def main():
    models, out = sys.argv[1:]
    torch.manual_seed(0)
    given = torch.from_numpy(picture().astype("<f4"))[None]
    given[0].numpy().tofile(f"{out}/input.f32")
    for scale in (2, 3, 4):
        with torch.inference_mode():
            result = Net(models, scale)(given)[0].numpy()
        assert result.shape == (3, HEIGHT * scale, WIDTH * scale)
        result.astype("<f4").tofile(f"{out}/output-x{scale}.f32")
        print(f"x{scale}: {result.shape}, {result.min():.4f}..{result.max():.4f}")


main()
