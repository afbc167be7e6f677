// Sums of rows of weights. A list names rows by their offset in bytes; a row holds the weights of one input to a block of outputs. The
// sums of a block stay in registers while a list is walked. Lists are filled up to a multiple of FILL with a row of zeros.
// A caller that wants more than the sums (a neuron's step) gives a buffer of one block in L1 for `to` and goes on from there.
#ifdef __AVX2__
#include <immintrin.h>
#endif
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
typedef int64_t I;
typedef uint32_t U;
#if defined(__AVX512BW__)
enum : I { BYTES = 64 };  // of a register
#elif defined(__AVX2__)
enum : I { BYTES = 32 };
#else
enum : I { BYTES = 16 };
#endif
enum : I { UNIT = 64, PER = UNIT / BYTES, FILL = 4 };  // rows are multiples of UNIT bytes, whatever the registers
static inline I lesser(I a, I b) { return a < b ? a : b; }
static inline I greater(I a, I b) { return a > b ? a : b; }

typedef float Float __attribute__((vector_size(BYTES), may_alias, aligned(4)));
typedef uint16_t Short __attribute__((vector_size(BYTES), may_alias, aligned(2)));

// float32 weights and sums
struct Real {
  typedef float Sum;
  enum : I { WIDTH = UNIT / sizeof(float), BLOCK = 32, SIZE = sizeof(float) };  // outputs of a unit and of a block, bytes of a weight

  // to[0 .. V * WIDTH) = from + the rows of the n entries; `to` may be `from`
  template <int V> static inline void gather(Sum* to, const Sum* from, const char* w, const U* e, I n) {
    enum : int { N = V * PER };
    Float sum[N], more[N] = {};  // two, so that additions do not wait for each other
    for (int v = 0; v < N; ++v) sum[v] = ((const Float*)from)[v];
    const U* const end = e + n;
    for (; e + 2 * FILL <= end; e += 2 * FILL) {
      add<N>(sum, w, e);
      add<N>(more, w, e + FILL);
    }
    if (e < end) add<N>(sum, w, e);
    for (int v = 0; v < N; ++v) ((Float*)to)[v] = sum[v] + more[v];
  }

  template <int N> static inline void add(Float (&sum)[N], const char* w, const U* e) {
    const Float *a = (const Float*)(w + e[0]), *b = (const Float*)(w + e[1]), *c = (const Float*)(w + e[2]), *d = (const Float*)(w + e[3]);
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) sum[v] += (a[v] + b[v]) + (c[v] + d[v]);
  }
};

// int8 weights, exact int32 sums. A byte is a weight plus 128: byte 2j of a unit belongs to output j, byte 2j + 1 to output 32 + j. Read
// as 16 bits they are low + 256 high: `both` adds that modulo 2^16, `high` the upper bytes alone, and what remains is the sum of the
// lower ones. Both begin with less 128 for every row, so that sums of up to 256 rows are exact in 16 bits and have their sign.
struct Whole {
  typedef int32_t Sum;
  enum : I { WIDTH = UNIT, BLOCK = 128, SIZE = 1, SAFE = 256 };

  template <int V> static inline void gather(Sum* to, const Sum* from, const char* w, const U* e, I n) {
    enum : int { N = V * PER };
    do {
      const I now = lesser(n, SAFE);
      Short both[N], high[N];
      for (int v = 0; v < N; ++v) {
        high[v] = Short{} - (uint16_t)(128 * now);
        both[v] = high[v] + (high[v] << 8);
      }
      for (const U* const end = e + now; e < end; e += FILL) {
        const Short *a = (const Short*)(w + e[0]), *b = (const Short*)(w + e[1]), *c = (const Short*)(w + e[2]), *d = (const Short*)(w + e[3]);
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) {
          both[v] += (a[v] + b[v]) + (c[v] + d[v]);
          high[v] += ((a[v] >> 8) + (b[v] >> 8)) + ((c[v] >> 8) + (d[v] >> 8));
        }
      }
      for (int v = 0; v < N; ++v) {
        const I at = v / PER * WIDTH + v % PER * (BYTES / 2);
        spread(to + at, from + at, both[v] - (high[v] << 8));
        spread(to + at + WIDTH / 2, from + at + WIDTH / 2, high[v]);
      }
      from = to;
      n -= now;
    } while (n > 0);
  }

  static inline void spread(Sum* to, const Sum* from, const Short& sums) {
#if defined(__AVX2__) && !defined(__AVX512BW__)
    for (int j = 0; j < BYTES / 2; j += 8) {
      const __m128i half = j ? _mm256_extracti128_si256((__m256i)sums, 1) : _mm256_castsi256_si128((__m256i)sums);
      _mm256_storeu_si256((__m256i*)(to + j), _mm256_add_epi32(_mm256_cvtepi16_epi32(half), _mm256_loadu_si256((const __m256i*)(from + j))));
    }
#else
    int16_t lane[BYTES / 2];
    memcpy(lane, &sums, sizeof(lane));
    for (int j = 0; j < BYTES / 2; ++j) to[j] = from[j] + lane[j];
#endif
  }
};
