"""The worker, candle and PyTorch in turns on the same job: bench.py BENCH_BINARY MODELS_DIR ROUNDS. Run by scripts/bench-upscale.

The worker runs in tiles of 256 and of 512; candle, which is what runs on the GPU, runs here on the CPU in tiles of 256; PyTorch
runs the whole picture at once, in both memory layouts. Besides seconds on the clock it prints seconds of CPU, which other work
on the machine disturbs less.
"""

import json
import os
import platform
import resource
import subprocess
import sys

SIDE, SCALE = 1024, 2
CORES = len(os.sched_getaffinity(0))


def worker(binary, tile, network="network"):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = subprocess.run([binary, str(SIDE), str(SIDE), str(SCALE), str(tile), "1", network], check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = json.loads(out.stdout)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return told["seconds"][0], cpu, told["peak_kb"] / 1024


TORCH = """
import resource, sys, time, torch
sys.path.insert(0, sys.argv[1])
from compact_net import Net
torch.set_num_threads(int(sys.argv[5]))
net, picture = Net(sys.argv[2], int(sys.argv[3])), torch.rand(1, 3, int(sys.argv[4]), int(sys.argv[4]))
if sys.argv[6] == "last":
    picture = picture.contiguous(memory_format=torch.channels_last)
with torch.inference_mode():
    net(picture[:, :, :64, :64])
    cpu, clock = time.process_time(), time.perf_counter()
    net(picture)
    print(time.perf_counter() - clock, time.process_time() - cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def pytorch(models, layout):
    here = os.path.dirname(os.path.abspath(__file__))
    out = subprocess.run([sys.executable, "-c", TORCH, here, models, str(SCALE), str(SIDE), str(CORES), layout],
                         check=True, capture_output=True, text=True)
    return tuple(float(word) for word in out.stdout.split())


def main():
    binary, models, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    runs = {
        "worker, tiles of 256": lambda: worker(binary, 256),
        "worker, tiles of 512": lambda: worker(binary, 512),
        "candle, tiles of 256": lambda: worker(binary, 256, "candle"),
        "PyTorch, channels first": lambda: pytorch(models, "first"),
        "PyTorch, channels last": lambda: pytorch(models, "last"),
    }
    results = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            results[name].append(run())
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    print(f"x{SCALE} of {SIDE} x {SIDE}, {CORES} cores of {cpu}, best of {rounds}; load {os.getloadavg()[0]:.1f}")
    print(f"{'':26}{'s':>8}{'CPU s':>8}{'peak MB':>9}")
    for name, rows in results.items():
        print(f"{name:26}{min(r[0] for r in rows):8.2f}{min(r[1] for r in rows):8.2f}{max(r[2] for r in rows):9.0f}")
    best = lambda prefix: min(r[0] for name, rows in results.items() if name.startswith(prefix) for r in rows)
    ours, theirs = best("worker"), best("PyTorch")
    print(f"the worker takes {ours / theirs:.2f} of PyTorch's time")
    if ours > theirs:
        sys.exit("bench-upscale: the worker is slower than PyTorch")


main()
