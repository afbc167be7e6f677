// Sums of rows of weights. A list names rows by their offset in bytes; a row holds the weights of one input to a block of outputs. The
// sums of a block stay in registers while a list is walked. Lists are filled up to a multiple of 4 with a row of zeros.
// A caller that wants more than the sums (a neuron's step) gives a buffer of one block in L1 for `to` and goes on from there.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
typedef int64_t I;
typedef uint32_t U;
enum : I { BYTES = 64, FILL = 4 };  // of a vector; lists are a multiple of FILL
static inline I lesser(I a, I b) { return a < b ? a : b; }
static inline I greater(I a, I b) { return a > b ? a : b; }

typedef float Float __attribute__((vector_size(BYTES), may_alias, aligned(4)));
typedef uint16_t Short __attribute__((vector_size(BYTES), may_alias, aligned(2)));

// float32 weights and sums
struct Real {
  typedef float Sum;
  enum : I { WIDTH = BYTES / sizeof(float), BLOCK = 32, SIZE = sizeof(float) };  // outputs of a vector and of a block, bytes of a weight

  // to[0 .. V * WIDTH) = from + the rows of the n entries; `to` may be `from`
  template <int V> static inline void gather(Sum* to, const Sum* from, const char* w, const U* e, I n) {
    Float sum[V], more[V] = {};  // two, so that additions do not wait for each other
    for (int v = 0; v < V; ++v) sum[v] = ((const Float*)from)[v];
    const U* const end = e + n;
    for (; e + 2 * FILL <= end; e += 2 * FILL) {
      add<V>(sum, w, e);
      add<V>(more, w, e + FILL);
    }
    if (e < end) add<V>(sum, w, e);
    for (int v = 0; v < V; ++v) ((Float*)to)[v] = sum[v] + more[v];
  }

  template <int V> static inline void add(Float (&sum)[V], const char* w, const U* e) {
    const Float *a = (const Float*)(w + e[0]), *b = (const Float*)(w + e[1]), *c = (const Float*)(w + e[2]), *d = (const Float*)(w + e[3]);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sum[v] += (a[v] + b[v]) + (c[v] + d[v]);
  }
};

// int8 weights, exact int32 sums. A byte is a weight plus 128: byte 2j of a vector belongs to output j, byte 2j + 1 to output 32 + j. Read
// as 16 bits they are low + 256 high: `both` adds that modulo 2^16, `high` the upper bytes alone, and what remains is the sum of the
// lower ones, exact for up to 257 rows.
struct Whole {
  typedef int32_t Sum;
  enum : I { WIDTH = BYTES, BLOCK = 128, SIZE = 1, SAFE = 256 };

  template <int V> static inline void gather(Sum* to, const Sum* from, const char* w, const U* e, I n) {
    do {
      Short both[V] = {}, high[V] = {};
      const I now = lesser(n, SAFE);
      for (const U* const end = e + now; e < end; e += FILL) {
        
        const Short *a = (const Short*)(w + e[0]), *b = (const Short*)(w + e[1]), *c = (const Short*)(w + e[2]), *d = (const Short*)(w + e[3]);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) {
          both[v] += (a[v] + b[v]) + (c[v] + d[v]);
          high[v] += ((a[v] >> 8) + (b[v] >> 8)) + ((c[v] >> 8) + (d[v] >> 8));
        }
      }
      for (int v = 0; v < V; ++v) spread(to + v * WIDTH, from + v * WIDTH, both[v] - (high[v] << 8), high[v], 128 * (Sum)now);
      from = to;
      n -= now;
    } while (n > 0);
  }

  static inline void spread(Sum* to, const Sum* from, Short low, Short high, Sum shift) {
    uint16_t half[2][WIDTH / 2];
    memcpy(half[0], &low, sizeof(low));
    memcpy(half[1], &high, sizeof(high));
    for (int h = 0; h < 2; ++h)
      for (int j = 0; j < WIDTH / 2; ++j) to[h * WIDTH / 2 + j] = from[h * WIDTH / 2 + j] + ((Sum)half[h][j] - shift);
  }
};
