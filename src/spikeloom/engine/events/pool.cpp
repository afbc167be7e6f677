// Pools of bits, 64 channels at a time: planes are compared, or added with carries.
#include <stdint.h>
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif
typedef int64_t I;
typedef uint64_t Word;
// planes: of the input; results: of the output; sign: whether a plane of signs follows in both
struct Pool { I threads, images, height, width, words, outHeight, outWidth, kh, kw, sh, sw, ph, pw, planes, results, sign; };

// best = max(best, a), planes from the lowest to the highest
static inline void larger(Word* best, const Word* a, I step, I planes) {
  Word open = ~(Word)0, wins = 0;  // channels where no higher plane differs; where a is larger
  for (I p = planes - 1; p >= 0; --p) {
    const Word differ = (best[p] ^ a[p * step]) & open;
    wins |= differ & a[p * step];
    open &= ~differ;
  }
  for (I p = 0; p < planes; ++p) best[p] = (best[p] & ~wins) | (a[p * step] & wins);
}

// sum += a
static inline void added(Word* sum, const Word* a, I step, I planes, I results) {
  Word carry = 0;
  for (I p = 0; p < results; ++p) {
    const Word b = p < planes ? a[p * step] : 0, half = sum[p] ^ b, next = (sum[p] & b) | (half & carry);
    sum[p] = half ^ carry;
    carry = next;
    if (p >= planes && !carry) break;
  }
}

// plus -= minus, as magnitude and sign, which is returned
static inline Word reduced(Word* plus, const Word* minus, I results) {
  Word borrow = 0;
  for (I p = 0; p < results; ++p) {
    const Word differ = plus[p] ^ minus[p], next = (minus[p] & ~plus[p]) | (borrow & ~differ);
    plus[p] = differ ^ borrow;
    borrow = next;
  }
  Word carry = borrow;  // of the complement where it went below zero
  for (I p = 0; p < results; ++p) {
    const Word flipped = plus[p] ^ borrow;
    plus[p] = flipped ^ carry;
    carry &= flipped;
  }
  return borrow;
}

template <bool SUM> static int pool(const Pool& s, const Word* x, Word* out) {
  const I rows = s.images * s.outHeight, step = s.images * s.height * s.width * s.words, size = rows * s.outWidth * s.words;
#pragma omp parallel for num_threads((int)s.threads) schedule(static)
  for (I r = 0; r < rows; ++r) {
    const I n = r / s.outHeight, y0 = r % s.outHeight * s.sh - s.ph;
    const I ya = y0 < 0 ? 0 : y0, yb = y0 + s.kh < s.height ? y0 + s.kh : s.height;
    for (I ox = 0; ox < s.outWidth; ++ox) {
      const I x0 = ox * s.sw - s.pw, xa = x0 < 0 ? 0 : x0, xb = x0 + s.kw < s.width ? x0 + s.kw : s.width;
      for (I k = 0; k < s.words; ++k) {
        Word found[16] = {}, minus[16] = {};
        for (I y = ya; y < yb; ++y)
          for (I i = xa; i < xb; ++i) {
            const Word* const a = x + ((n * s.height + y) * s.width + i) * s.words + k;
            if (s.sign) {
              const Word sign = a[s.planes * step];
              Word up[16], down[16];
              for (I p = 0; p < s.planes; ++p) up[p] = a[p * step] & ~sign, down[p] = a[p * step] & sign;
              added(found, up, 1, s.planes, s.results);
              added(minus, down, 1, s.planes, s.results);
            } else if (SUM) added(found, a, step, s.planes, s.results);
            else larger(found, a, step, s.planes);
          }
        if (s.sign) found[s.results] = reduced(found, minus, s.results);
        for (I p = 0; p < s.results + s.sign; ++p) out[p * size + (r * s.outWidth + ox) * s.words + k] = found[p];
      }
    }
  }
  return 0;
}

// calls f(word of the output, word of the input, channels for which this input is the first of its window that is as large as the output)
template <class F> static inline void winners(const Pool& s, const Word* x, const Word* best, I n, F f) {
  const I step = s.images * s.height * s.width * s.words, size = s.images * s.outHeight * s.outWidth * s.words;
  for (I oy = 0; oy < s.outHeight; ++oy)
    for (I ox = 0; ox < s.outWidth; ++ox)
      for (I k = 0; k < s.words; ++k) {
        const I to = ((n * s.outHeight + oy) * s.outWidth + ox) * s.words + k, y0 = oy * s.sh - s.ph, x0 = ox * s.sw - s.pw;
        Word open = ~(Word)0;
        for (I y = y0 < 0 ? 0 : y0; y < y0 + s.kh && y < s.height; ++y)
          for (I i = x0 < 0 ? 0 : x0; i < x0 + s.kw && i < s.width; ++i) {
            const I from = ((n * s.height + y) * s.width + i) * s.words + k;
            Word differ = 0;
            for (I p = 0; p < s.planes; ++p) differ |= x[p * step + from] ^ best[p * size + to];
            f(to, from, open & ~differ);
            open &= differ;
          }
      }
}

// to = from, or to += from, where a bit says so; to = 0 elsewhere, or stays
struct Masks {
  uint32_t of[256][8];
  Masks() { for (int b = 0; b < 256; ++b) for (int j = 0; j < 8; ++j) of[b][j] = 0u - (b >> j & 1); }
};
template <bool ADD> static inline void masked(float* __restrict to, const float* __restrict from, Word bits, I n) {
  static const Masks masks;
  if (ADD && !bits) return;
  I j = 0;
#ifdef __AVX512F__
  for (; j + 16 <= n; j += 16) {
    const __mmask16 here = (__mmask16)(bits >> j);
    const __m512 some = _mm512_maskz_loadu_ps(here, from + j);
    _mm512_storeu_ps(to + j, ADD ? _mm512_add_ps(_mm512_loadu_ps(to + j), some) : some);
  }
#endif
  for (; j < n; j += 8) {
    const uint32_t* const mask = masks.of[bits >> j & 255];
    for (I i = j; i < j + 8 && i < n; ++i) {
      uint32_t u;
      float some;
      memcpy(&u, from + i, 4);
      u &= mask[i - j];
      memcpy(&some, &u, 4);
      to[i] = ADD ? to[i] + some : some;
    }
  }
}

template <bool ADD> static int drawn(const Pool& s, I channels, const Word* x, const Word* best, const float* dy, float* dx) {
  const I image = s.height * s.width * channels;
  const bool gaps = ADD || s.height % s.kh || s.width % s.kw;
#pragma omp parallel for num_threads((int)s.threads) schedule(static)
  for (I n = 0; n < s.images; ++n) {
    if (gaps) memset(dx + n * image, 0, image * sizeof(float));
    winners(s, x, best, n, [&](I to, I from, Word win) {
      const I c = 64 * (to % s.words);
      masked<ADD>(dx + from / s.words * channels + c, dy + to / s.words * channels + c, win, channels - c < 64 ? channels - c : 64);
    });
  }
  return 0;
}

// with: Pool, channels, then the addresses of the words in and out, of the output's gradient [N, H', W', C] and of the input's [N, H, W, C]
extern "C" int pulled(const I* with) {
  const Pool& s = *(const Pool*)with;
  const I* const a = with + sizeof(Pool) / sizeof(I);
  const bool apart = s.sh == s.kh && s.sw == s.kw && !s.ph && !s.pw;
  return (apart ? drawn<false> : drawn<true>)(s, a[0], (const Word*)a[1], (const Word*)a[2], (const float*)a[3], (float*)a[4]);
}

// with: Pool, channels, then the addresses of the words in and out, and of one bit of each in and out: that of the input whose value is out
extern "C" int opened(const I* with) {
  const Pool& s = *(const Pool*)with;
  const I* const a = with + sizeof(Pool) / sizeof(I);
  const Word* const bit = (const Word*)a[3];
  Word* const out = (Word*)a[4];
#pragma omp parallel for num_threads((int)s.threads) schedule(static)
  for (I n = 0; n < s.images; ++n) {
    const I size = s.outHeight * s.outWidth * s.words;
    memset(out + n * size, 0, size * sizeof(Word));
    winners(s, (const Word*)a[1], (const Word*)a[2], n, [&](I to, I from, Word win) { out[to] |= win & bit[from]; });
  }
  return 0;
}

// with: Pool, then the addresses of the words in and out
extern "C" int largest(const I* with) {
  const I* const a = with + sizeof(Pool) / sizeof(I);
  return pool<false>(*(const Pool*)with, (const Word*)a[0], (Word*)a[1]);
}
extern "C" int sum(const I* with) {
  const I* const a = with + sizeof(Pool) / sizeof(I);
  return pool<true>(*(const Pool*)with, (const Word*)a[0], (Word*)a[1]);
}
