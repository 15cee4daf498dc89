"""Compiles worker/src/cuda/kernels/*.cu to PTX by NVRTC, without a GPU: compile.py [--check]. Run by scripts/compile-kernels.

--check writes nothing and fails when a committed PTX is not what its source gives. Either way each `extern "C" __global__`
of the source must be an entry of the PTX, and an all-out compile to machine code for each GPU that we rent must pass.
"""

import ctypes
import pathlib
import re
import site
import sys

# Turing and newer run the PTX; the others are compiled all the way, so that a register or size limit shows here.
PTX_ARCH = "compute_75"
GPUS = ["sm_80", "sm_86", "sm_89", "sm_90"]
KERNELS = pathlib.Path(__file__).resolve().parents[2] / "worker" / "src" / "cuda" / "kernels"


def library():
    for folder in site.getsitepackages():
        for path in pathlib.Path(folder).glob("nvidia/cuda_nvrtc/lib/libnvrtc.so.*"):
            return ctypes.CDLL(str(path))
    sys.exit("compile-kernels: the package nvidia-cuda-nvrtc-cu12 is not installed; run scripts/compile-kernels")


NVRTC = library()


def call(name, *arguments):
    code = getattr(NVRTC, name)(*arguments)
    if code:
        NVRTC.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise RuntimeError(f"{name}: {NVRTC.nvrtcGetErrorString(code).decode()}")


def output(program, kind):
    size = ctypes.c_size_t()
    call(f"nvrtcGet{kind}Size", program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    call(f"nvrtcGet{kind}", program, text)
    return text.raw.rstrip(b"\0")


def compile(source, arch):
    """The PTX for a compute_ architecture, the machine code for an sm_ one."""
    program = ctypes.c_void_p()
    call("nvrtcCreateProgram", ctypes.byref(program), source.read_bytes(), source.name.encode(), 0, None, None)
    options = [f"--gpu-architecture={arch}".encode()]
    try:
        call("nvrtcCompileProgram", program, len(options), (ctypes.c_char_p * len(options))(*options))
    except RuntimeError as error:
        sys.exit(f"compile-kernels: {source.name} for {arch}: {error}\n{output(program, 'ProgramLog').decode()}")
    result = output(program, "PTX" if arch.startswith("compute") else "CUBIN")
    call("nvrtcDestroyProgram", ctypes.byref(program))
    return result


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit("usage: scripts/compile-kernels [--check]")
    for source in sorted(KERNELS.glob("*.cu")):
        ptx = compile(source, PTX_ARCH).decode() + "\n"
        wanted = set(re.findall(r'extern "C" __global__ void (\w+)', source.read_text(encoding="utf-8")))
        found = set(re.findall(r"\.visible \.entry (\w+)", ptx))
        if not wanted or wanted != found:
            sys.exit(f"compile-kernels: {source.name} declares {sorted(wanted)}, its PTX has {sorted(found)}")
        for gpu in GPUS:
            compile(source, gpu)
        target = source.with_suffix(".ptx")
        if not check:
            target.write_text(ptx)
        elif not target.is_file() or target.read_text() != ptx:
            sys.exit(f"compile-kernels: {target.name} is not what {source.name} gives; run scripts/compile-kernels and commit it")
        print(f"{source.name}: {', '.join(sorted(found))}: PTX for {PTX_ARCH}, and machine code for {', '.join(GPUS)}")


main()
