"""Real-ESRGAN's compact network in PyTorch, built from the pinned ncnn files: the judge of the worker's own code.

Written apart from the Rust loader, on purpose: it reads the layers one by one and runs them as a graph, so that the two
share no mistake.
"""

import numpy as np
import torch
import torch.nn.functional as F

HALF = 0x01306B47


class Net:
    def __init__(self, directory, scale):
        stem = f"{directory}/realesr-animevideov3-x{scale}"
        with open(f"{stem}.param") as text:
            lines = text.read().splitlines()
        assert lines[0] == "7767517", "not an ncnn network"
        self.scale = scale
        self.layers = []
        with open(f"{stem}.bin", "rb") as weights:
            for line in lines[2:]:
                self.layers.append(self._layer(line.split(), weights))
            assert not weights.read(), "weights are left over"

    @staticmethod
    def _layer(words, weights):
        kind, _name, n_in, n_out = words[0], words[1], int(words[2]), int(words[3])
        blobs = words[4:4 + n_in + n_out]
        settings = dict(word.split("=") for word in words[4 + n_in + n_out:])
        floats = lambda n: np.frombuffer(weights.read(4 * n), "<f4").copy()
        data = ()
        if kind == "Convolution":
            outputs, size = int(settings["0"]), int(settings["6"])
            tag = int(np.frombuffer(weights.read(4), "<u4")[0])
            if tag == HALF:
                weight = np.frombuffer(weights.read((2 * size + 3) // 4 * 4), "<f2")[:size].astype("<f4")
            else:
                assert tag == 0, f"unknown storage {tag:#x}"
                weight = floats(size)
            data = (torch.from_numpy(weight.reshape(outputs, -1, 3, 3)), torch.from_numpy(floats(outputs)))
        elif kind == "PReLU":
            data = (torch.from_numpy(floats(int(settings["0"]))),)
        return kind, blobs[:n_in], blobs[n_in:], settings, data

    def __call__(self, picture):
        """picture: [1, 3, H, W], 0..1; gives [1, 3, scale H, scale W]."""
        blobs, value = {}, None
        for kind, inputs, outputs, settings, data in self.layers:
            x = [blobs.pop(name) for name in inputs]
            if kind == "Input":
                value = picture
            elif kind == "Split":
                value = x[0]
            elif kind == "Convolution":
                value = F.conv2d(x[0], data[0], data[1], padding=1)
            elif kind == "PReLU":
                value = F.prelu(x[0], data[0])
            elif kind == "PixelShuffle":
                value = F.pixel_shuffle(x[0], int(settings["0"]))
            elif kind == "Interp":
                mode = {"1": "nearest", "3": "bicubic"}[settings["0"]]
                value = F.interpolate(x[0], scale_factor=float(settings["1"]), mode=mode)
            elif kind == "BinaryOp":
                value = x[0] + x[1]
            else:
                raise ValueError(f"unknown layer {kind}")
            for name in outputs:
                blobs[name] = value
        return value
