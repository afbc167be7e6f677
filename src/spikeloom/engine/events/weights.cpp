// Weights [groups * out, in, kh, kw] of any strides as rows of `stride` outputs for each tap and input, columns of taps first: [groups, blocks,
// kw * kh * in + 1, stride].
#include <stdint.h>
#include <string.h>
typedef int64_t I;
struct Lay { I threads, groups, out, in, kh, kw, stride, steps[4]; };  // steps: of outputs, inputs, rows and columns of taps
enum : I { INPUTS = 16 };  // a tile of so many inputs and `stride` outputs stays in L1 while it is turned

// with: Lay, then the addresses of weights and rows
extern "C" int lay(const I* with) {
  const Lay& s = *(const Lay*)with;
  const I* const a = with + sizeof(Lay) / sizeof(I);
  const float* const weights = (const float*)a[0];
  float* const rows = (float*)a[1];
  const I taps = s.kh * s.kw, blocks = (s.out + s.stride - 1) / s.stride, slab = (taps * s.in + 1) * s.stride, parts = (s.in + INPUTS - 1) / INPUTS;
  const bool last = s.steps[1] == 1;  // inputs are neighbours, else taps
#pragma omp parallel for num_threads((int)s.threads) schedule(static)
  for (I t = 0; t < s.groups * blocks * parts; ++t) {
    const I b = t / parts, c0 = t % parts * INPUTS, first = b % blocks * s.stride;
    const I wide = s.out - first < s.stride ? s.out - first : s.stride, channels = s.in - c0 < INPUTS ? s.in - c0 : INPUTS;
    float* const to = rows + b * slab + c0 * s.stride;
    const float* const from = weights + (b / blocks * s.out + first) * s.steps[0] + c0 * s.steps[1];
    const auto put = [&](I o, I c, I ky, I kx) {
      to[((kx * s.kh + ky) * s.in + c) * s.stride + o] = from[o * s.steps[0] + c * s.steps[1] + ky * s.steps[2] + kx * s.steps[3]];
    };
    for (I o = 0; o < wide; ++o) {
      if (last) {
        for (I ky = 0; ky < s.kh; ++ky)
          for (I kx = 0; kx < s.kw; ++kx)
            for (I c = 0; c < channels; ++c) put(o, c, ky, kx);
      } else {
        for (I c = 0; c < channels; ++c)
          for (I ky = 0; ky < s.kh; ++ky)
            for (I kx = 0; kx < s.kw; ++kx) put(o, c, ky, kx);
      }
    }
    for (I tap = 0; tap < taps && wide < s.stride; ++tap)
      for (I c = 0; c < channels; ++c) memset(to + (tap * s.in + c) * s.stride + wide, 0, (s.stride - wide) * sizeof(float));
    if (!c0) memset(rows + (b + 1) * slab - s.stride, 0, s.stride * sizeof(float));
  }
  return 0;
}
