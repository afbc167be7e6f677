// Weights [groups * out, in, taps] of any strides as rows of `stride` outputs for each tap and input: [groups, blocks, taps * in + 1, stride].
#include <stdint.h>
#include <string.h>
typedef int64_t I;
struct Lay { I threads, groups, out, in, taps, stride, steps[3]; };  // steps: of outputs, inputs and taps
enum : I { INPUTS = 16 };  // a tile of so many inputs and `stride` outputs stays in L1 while it is turned

// with: Lay, then the addresses of weights and rows
extern "C" int lay(const I* with) {
  const Lay& s = *(const Lay*)with;
  const I* const a = with + sizeof(Lay) / sizeof(I);
  const float* const weights = (const float*)a[0];
  float* const rows = (float*)a[1];
  const I blocks = (s.out + s.stride - 1) / s.stride, slab = (s.taps * s.in + 1) * s.stride, parts = (s.in + INPUTS - 1) / INPUTS;
  const bool last = s.steps[1] == 1;  // inputs are neighbours, else taps
#pragma omp parallel for num_threads((int)s.threads) schedule(static)
  for (I t = 0; t < s.groups * blocks * parts; ++t) {
    const I b = t / parts, c0 = t % parts * INPUTS, first = b % blocks * s.stride;
    const I wide = s.out - first < s.stride ? s.out - first : s.stride, channels = s.in - c0 < INPUTS ? s.in - c0 : INPUTS;
    float* const to = rows + b * slab + c0 * s.stride;
    const float* const from = weights + (b / blocks * s.out + first) * s.steps[0] + c0 * s.steps[1];
    for (I o = 0; o < wide; ++o)
      for (I i = 0; i < (last ? s.taps : channels); ++i)
        for (I k = 0; k < (last ? channels : s.taps); ++k) {
          const I c = last ? k : i, tap = last ? i : k;
          to[(tap * s.in + c) * s.stride + o] = from[o * s.steps[0] + c * s.steps[1] + tap * s.steps[2]];
        }
    for (I tap = 0; tap < s.taps && wide < s.stride; ++tap)
      for (I c = 0; c < channels; ++c) memset(to + (tap * s.in + c) * s.stride + wide, 0, (s.stride - wide) * sizeof(float));
    if (!c0) memset(rows + (b + 1) * slab - s.stride, 0, s.stride * sizeof(float));
  }
  return 0;
}
