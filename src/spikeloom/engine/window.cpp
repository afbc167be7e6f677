// Bits per neuron and step as scan.cpp keeps them, one bit each, as words of 64 channels: neurons of a step lie channels last.
#include <stdint.h>
#include <string.h>
typedef int64_t I;
typedef uint64_t Word;
enum : I { TILE = 512, BYTES = TILE / 8 };

// neurons 64 * k to 64 * k + 63 of a tile: bit k of its bytes
static inline Word word(const uint8_t* tile, I k) {
  Word all = 0;
  for (I j = 0; j < 8; ++j) {
    Word eight;
    memcpy(&eight, tile + 8 * j, 8);
    all |= ((eight >> k & 0x0101010101010101u) * 0x0102040810204080u >> 56) << (8 * j);
  }
  return all;
}

// with: steps, pixels of a step, channels, threads, then the addresses of the bits [T, tiles, BYTES] and of words [T * pixels, words]
extern "C" int words(const I* with) {
  const I steps = with[0], pixels = with[1], channels = with[2], tiles = (pixels * channels + TILE - 1) / TILE, per = (channels + 63) / 64;
  const uint8_t* const bits = (const uint8_t*)with[4];
  Word* const out = (Word*)with[5];
#pragma omp parallel for num_threads((int)with[3]) schedule(static)
  for (I q = 0; q < steps * pixels; ++q) {
    const uint8_t* const step = bits + q / pixels * tiles * BYTES;
    for (I k = 0; k < per; ++k) {
      const I at = q % pixels * channels + 64 * k, count = channels - 64 * k < 64 ? channels - 64 * k : 64, shift = at % 64;
      Word found = word(step + at / TILE * BYTES, at % TILE / 64) >> shift;
      const I next = at - shift + 64;
      if (shift && shift + count > 64) found |= word(step + next / TILE * BYTES, next % TILE / 64) << (64 - shift);
      out[q * per + k] = count < 64 ? found & (((Word)1 << count) - 1) : found;
    }
  }
  return 0;
}
