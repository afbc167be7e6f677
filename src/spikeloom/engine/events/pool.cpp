// Pools of bits, 64 channels at a time: planes are compared, or added with carries.
#include <stdint.h>
#include <string.h>
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

// with: Pool, then the addresses of the words in and out
extern "C" int largest(const I* with) {
  const I* const a = with + sizeof(Pool) / sizeof(I);
  return pool<false>(*(const Pool*)with, (const Word*)a[0], (Word*)a[1]);
}
extern "C" int sum(const I* with) {
  const I* const a = with + sizeof(Pool) / sizeof(I);
  return pool<true>(*(const Pool*)with, (const Word*)a[0], (Word*)a[1]);
}
