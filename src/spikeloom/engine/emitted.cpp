// Truth values of neurons as scan.cpp writes them, those of a step one after the other, as words of 64 channels that begin anew at each
// pixel: neurons of a step lie channels last.
#include <stdint.h>
typedef int64_t I;
typedef uint64_t Word;

// with: steps (of all planes), pixels of a step, channels, threads, then the addresses of the words [steps, ceil(pixels * channels / 64)]
// and of those [steps * pixels, ceil(channels / 64)]
extern "C" int begun(const I* with) {
  const I steps = with[0], pixels = with[1], channels = with[2], pitch = (pixels * channels + 63) / 64, per = (channels + 63) / 64;
  const Word* const bits = (const Word*)with[4];
  Word* const out = (Word*)with[5];
  for (I t = 0; t < steps; ++t)
#pragma omp parallel for num_threads((int)with[3]) schedule(static)
    for (I q = 0; q < pixels; ++q)
      for (I k = 0; k < per; ++k) {
        const I first = q * channels + 64 * k, count = channels - 64 * k < 64 ? channels - 64 * k : 64, shift = first % 64;
        const Word* const at = bits + t * pitch + first / 64;
        // without a branch that nobody can foresee: bits of at[0] that come in where at[1] is not needed lie behind count
        const Word found = at[0] >> shift | at[shift + count > 64] << 1 << (63 - shift);
        out[(t * pixels + q) * per + k] = count < 64 ? found & (((Word)1 << count) - 1) : found;
      }
  return 0;
}
