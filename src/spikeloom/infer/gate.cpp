// Spiking max pools on plain spikes: counts of the input's spikes so far, and for each window the spikes that pass. A thread takes 64
// channels of an image through all steps.
#include <stdint.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif
typedef int64_t I;
typedef uint64_t Word;
// increase: a spike passes where the largest count grows, else where the input that leads (ties: the first) spikes
struct Gate { I threads, steps, images, height, width, words, outHeight, outWidth, kh, kw, sh, sw, ph, pw, increase; };

static inline void count(int32_t* c, Word w) {
#ifdef __AVX512F__
  const __m512i one = _mm512_set1_epi32(1);
  for (int j = 0; j < 64; j += 16) {
    const __m512i v = _mm512_loadu_si512(c + j);
    _mm512_storeu_si512(c + j, _mm512_mask_add_epi32(v, (__mmask16)(w >> j), v, one));
  }
#else
  for (int j = 0; j < 64; ++j) c[j] += (int32_t)(w >> j & 1);
#endif
}

// best = max(best, c); where c was larger, and where it was equal
static inline void compare(const int32_t* c, int32_t* best, Word& more, Word& same) {
  more = same = 0;
#ifdef __AVX512F__
  for (int j = 0; j < 64; j += 16) {
    const __m512i v = _mm512_loadu_si512(c + j), b = _mm512_loadu_si512(best + j);
    more |= (Word)_mm512_cmpgt_epi32_mask(v, b) << j;
    same |= (Word)_mm512_cmpeq_epi32_mask(v, b) << j;
    _mm512_storeu_si512(best + j, _mm512_max_epi32(v, b));
  }
#else
  for (int j = 0; j < 64; ++j) {
    more |= (Word)(c[j] > best[j]) << j;
    same |= (Word)(c[j] == best[j]) << j;
    best[j] = c[j] > best[j] ? c[j] : best[j];
  }
#endif
}

// with: Gate, then the addresses of words [T, B, H, W, words], the result, and counts [B, H, W, words, 64], which move on
extern "C" int run(const I* with) {
  const Gate& g = *(const Gate*)with;
  const I* const a = with + sizeof(Gate) / sizeof(I);
  const Word* const x = (const Word*)a[0];
  Word* const out = (Word*)a[1];
  int32_t* const counts = (int32_t*)a[2];
  const I pixels = g.height * g.width, outPixels = g.outHeight * g.outWidth;
#pragma omp parallel for num_threads((int)g.threads) schedule(static)
  for (I job = 0; job < g.images * g.words; ++job) {
    const I n = job / g.words, k = job % g.words;
    int32_t* const mine = counts + (n * pixels * g.words + k) * 64;
    for (I t = 0; t < g.steps; ++t) {
      const Word* const from = x + (t * g.images + n) * pixels * g.words + k;
      Word* const to = out + (t * g.images + n) * outPixels * g.words + k;
      for (I p = 0; p < pixels; ++p)
        if (from[p * g.words]) count(mine + p * g.words * 64, from[p * g.words]);
      for (I o = 0; o < outPixels; ++o) {
        const I y0 = o / g.outWidth * g.sh - g.ph, x0 = o % g.outWidth * g.sw - g.pw;
        int32_t best[64];
        for (int j = 0; j < 64; ++j) best[j] = -1;
        Word pass = 0;
        for (I y = y0 < 0 ? 0 : y0; y < y0 + g.kh && y < g.height; ++y)
          for (I i = x0 < 0 ? 0 : x0; i < x0 + g.kw && i < g.width; ++i) {
            const I p = (y * g.width + i) * g.words;
            Word more, same;
            compare(mine + p * 64, best, more, same);
            pass = (pass & ~more) | (from[p] & more);
            if (g.increase) pass &= from[p] | ~same;  // it has grown only if all that reach it spiked now
          }
        to[o * g.words] = pass;
      }
    }
  }
  return 0;
}
