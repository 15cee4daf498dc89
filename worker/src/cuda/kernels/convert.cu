// Between pictures (rows of R, G, B bytes) and the network's tiles (planes of floats 0..1), on the GPU.
// worker/src/cuda/convert.rs is the same in Rust and judges it: the results are equal bit for bit.
// Built by scripts/compile-kernels; one thread per pixel of the tile, blocks of any shape.

// width × height pixels of rgb, whose rows are pitch pixels long, into tile [3][tile_height][tile_width]. What the picture
// does not have becomes 0.
extern "C" __global__ void tile_in(const unsigned char *rgb, unsigned pitch, unsigned width, unsigned height,
                                   float *tile, unsigned tile_width, unsigned tile_height) {
    unsigned x = blockIdx.x * blockDim.x + threadIdx.x;
    unsigned y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= tile_width || y >= tile_height) return;
    unsigned long long plane = (unsigned long long)tile_width * tile_height;
    unsigned long long to = (unsigned long long)y * tile_width + x;
    bool inside = x < width && y < height;
    const unsigned char *from = rgb + 3ull * ((unsigned long long)y * pitch + x);
    for (int channel = 0; channel < 3; channel++) {
        // The exact quotient, as Rust has it, whatever the compiler's flags for division are.
        tile[channel * plane + to] = inside ? __fdiv_rn((float)from[channel], 255.0f) : 0.0f;
    }
}

// tile [3][height][width] into rgb, clamped to 0..1 and rounded. fmaxf turns a NaN into 0.
extern "C" __global__ void tile_out(const float *tile, unsigned width, unsigned height, unsigned char *rgb) {
    unsigned x = blockIdx.x * blockDim.x + threadIdx.x;
    unsigned y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    unsigned long long plane = (unsigned long long)width * height;
    unsigned long long at = (unsigned long long)y * width + x;
    for (int channel = 0; channel < 3; channel++) {
        float value = fminf(fmaxf(__fmul_rn(tile[channel * plane + at], 255.0f), 0.0f), 255.0f);
        rgb[3ull * at + channel] = (unsigned char)__fadd_rn(value, 0.5f);
    }
}
