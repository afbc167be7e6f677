// float32 numbers as whole ones of 24 bits, three digits of 8 times a unit: weights as the tiles of tiles.h has them, and a convolution of
// stride 1 of float32 by such, with a unit for each image. Of the nine products of two numbers' digits the six highest count; they are
// summed by the three powers of 256 that they belong to. gather.h, lists.h and tiles.h come before this text.
#include <math.h>

enum : int32_t { LARGEST = 127 * (1 + 256 + 65536) };  // that three digits of -128 to 127 give

// the smallest power of two of which three digits give numbers up to `most`; none for what is no number
static inline float unit_of(float most) {
  if (!(most < INFINITY)) return NAN;
  if (most == 0) return 1;
  int e;
  frexpf(most, &e);
  const float unit = ldexpf(1, e < -103 ? -126 : e - 23);
  return (double)most > (double)LARGEST * unit ? 2 * unit : unit;
}
static inline float inverse_of(float unit) { return unit == unit ? 1 / unit : 0; }

// n numbers as digits, from the lowest on `apart` bytes from each other
static inline void digits(int8_t* to, I apart, const float* x, I n, float inverse) {
  I i = 0;
#ifdef __AVX512F__
  const __m512i half = _mm512_set1_epi32(128);
  for (; i < n; i += 16) {
    const __mmask16 here = n - i < 16 ? (__mmask16)((1u << (n - i)) - 1) : (__mmask16)0xffff;
    __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(here, x + i), _mm512_set1_ps(inverse)));
    for (int k = 0; k < 3; ++k, q = _mm512_srai_epi32(_mm512_add_epi32(q, half), 8)) _mm512_mask_cvtepi32_storeu_epi8(to + k * apart + i, here, q);
  }
#else
  for (; i < n; ++i) {
    int32_t q = (int32_t)rintf(x[i] * inverse);
    for (int k = 0; k < 3; ++k, q = (q + 128) >> 8) to[k * apart + i] = (int8_t)q;
  }
#endif
}

// 4 times 16 numbers as digits, those of one of the 16 side by side; from the lowest on `apart` bytes from each other
static inline void fours(char* to, I apart, const float (&x)[4][16], const float* inverse) {
  int32_t q[4][16];
  for (int j = 0; j < 4; ++j)
#ifdef __AVX512F__
    _mm512_storeu_si512(q[j], _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x[j]), _mm512_loadu_ps(inverse))));
#else
    for (int o = 0; o < 16; ++o) q[j][o] = (int32_t)rintf(x[j][o] * inverse[o]);
#endif
  for (int k = 0; k < 3; ++k, to += apart) {
    U row[16];
    for (int o = 0; o < 16; ++o) row[o] = (U)(q[0][o] & 255) | (U)(q[1][o] & 255) << 8 | (U)(q[2][o] & 255) << 16 | (U)(q[3][o] & 255) << 24;
    memcpy(to, row, sizeof(row));
    for (int j = 0; j < 4; ++j) for (int o = 0; o < 16; ++o) q[j][o] = (q[j][o] + 128) >> 8;
  }
}

static inline void read(float* to, const float* from, I n, I step) {
  if (step == 1 && n == 16) memcpy(to, from, 16 * sizeof(float));
  else for (I o = 0; o < n; ++o) to[o] = from[o * step];
}

// steps: of outputs, inputs, rows and columns of taps
struct Weights { I threads, out, in, kh, kw, columns, steps[4]; };

// with: Weights, then the addresses of weights and tiles: [columns, 3, taps, chunks, 16 rows, 16, 4], the highest digit first, and the units
extern "C" int lay(const I* with) {
  const Weights& v = *(const Weights*)with;
  const I* const a = with + sizeof(Weights) / sizeof(I);
  Shape s = {};
  s.in = v.in;
  s.kh = v.kh;
  s.kw = v.kw;
  const Chunks c(s);
  const float* const weights = (const float*)a[0];
#pragma omp parallel for num_threads((int)v.threads) schedule(static)
  for (I b = 0; b < v.columns; ++b) {
    char* const to = (char*)a[1] + b * column<Real>(s);
    const float* const first = weights + 16 * b * v.steps[0];
    const I outputs = lesser(16, v.out - 16 * b), apart = c.all * BYTES_OF_TILE;
    float* const units = (float*)(to + 3 * apart);
    memset(to, 0, 3 * apart);
    float most[16] = {}, inverse[16], found[4][16] = {};
    for (I y = 0; y < v.kh; ++y)
      for (I x = 0; x < v.kw; ++x)
        for (I i = 0; i < v.in; ++i) {
          read(found[0], first + i * v.steps[1] + y * v.steps[2] + x * v.steps[3], outputs, v.steps[0]);
          for (I o = 0; o < 16; ++o) most[o] = fabsf(found[0][o]) <= most[o] ? most[o] : fabsf(found[0][o]) < INFINITY ? fabsf(found[0][o]) : INFINITY;
        }
    for (I o = 0; o < 16; ++o) inverse[o] = inverse_of(units[o] = unit_of(most[o]));
    for (I y = 0; y < v.kh; ++y)
      for (I x = 0; x < v.kw; ++x)
        for (I i = 0; i < v.in; i += 4) {
          const I chunk = (y * c.across + x / c.together) * c.each + i / CHUNK, at = x % c.together * c.lanes + i % CHUNK;
          for (I j = 0; j < 4; ++j) {
            if (i + j < v.in) read(found[j], first + (i + j) * v.steps[1] + y * v.steps[2] + x * v.steps[3], outputs, v.steps[0]);
            else memset(found[j], 0, sizeof(found[j]));
          }
          fours(to + 2 * apart + chunk * BYTES_OF_TILE + at * 16, -apart, found, inverse);
        }
  }
  return 0;
}

// pixels from `first` on as digits [pixels, 3, room], the lowest first
struct Floats {
  enum : I { PARTS = 3 };
  const int8_t* digits;
  I room, first;
  void put(char* to, I apart, I pixel, I k, I lanes) const {
    // of a constant size it is one move
    for (I q = 0; q < PARTS; ++q) memcpy(to + q * apart, digits + ((pixel - first) * PARTS + q) * room + k * CHUNK, lanes == CHUNK ? (I)CHUNK : lanes);
  }
};

// the largest size of n numbers
static inline float largest(const float* x, I n) {
  U most = 0;  // positive floats are ordered as integers are, and NaN lies above
  for (I i = 0; i < n; ++i) {
    U bits;
    memcpy(&bits, x + i, 4);
    bits &= 0x7fffffff;
    most = bits > most ? bits : most;
  }
  float found;
  memcpy(&found, &most, 4);
  return found;
}

// for output rows [r0, r1) of all images; units: of the inputs, from image n0 on
static void convolved(const Shape& s, const Tiles& tiles, const char* w, float* out, const float* units, I n0, I r0, I r1) {
  static const float none[16] = {};
  const I n = Chunks(s).all, bytes = column<Real>(s), pixels = (r1 - r0) * s.outWidth, columns = (s.out + 15) / 16, area = s.outHeight * s.outWidth;
  const I most = s.outWidth < TILE ? TILE / s.outWidth * s.outWidth : TILE;  // whole rows where these are short
  alignas(64) int32_t found[3 * FOUR * NUMBERS];
  alignas(64) float sums[(TILE + ROWS) * 32];
  for (I b = 0; b < columns; b += 2) {
    const char* const weights = w + b * bytes;  // stay in the cache
    const I across = lesser(2, columns - b), width = lesser(32, s.out - 16 * b);
    for (I i = 0; i < pixels; i += most) {
      const I m = lesser(most, pixels - i), first = r0 * s.outWidth + i;
      const Cell cell(s, tiles, i, m);
      for (I k = 0; k < cell.count; k += 2) {
        const I had = lesser(2, cell.count - k);
        // digits of x from the lowest on, those of weights from the highest
        for (I q = 0; q < 3; ++q)
          product(found + q * FOUR * NUMBERS, cell.a + k, had, tiles.step, tiles.at.data + (2 - q) * n, weights, (q + 1) * n, across, bytes);
        for (I r = 0; r < had; ++r)
          for (I x = 0; x < across; ++x)
            finish(sums + cell.from[k + r] * 32 + x * 16, 32, found + (r * across + x) * NUMBERS, FOUR * NUMBERS, none,
                   (const float*)(weights + (x + 1) * bytes - 64));
      }
      for (I j = 0; j < m; ++j) {
        const float unit = units[(first + j) / area - n0] * 65536;
        float* const to = out + (first + j) * s.out + 16 * b;
        for (I o = 0; o < width; ++o) to[o] = sums[j * 32 + o] * unit;
      }
    }
  }
}

// with: Shape, whose piece counts images, the output rows of such a piece that are spread out together, and the addresses of x [N, H, W, in],
// tiles and out [N, H', W', out]. 1: no memory, 2: no tiles
extern "C" int convolve(const I* with) {
  if (tiles_state() == 2) return 2;
  const Shape& s = *(const Shape*)with;
  const I* const a = with + sizeof(Shape) / sizeof(I) + 1;
  const float* const x = (const float*)a[0];
  const I together = a[-1], room = Chunks(s).each * CHUNK, size = s.height * s.width, pieces = (s.images + s.piece - 1) / s.piece;
  int failed = 0;
#pragma omp parallel for num_threads((int)s.threads) schedule(dynamic, 1) reduction(| : failed)
  for (I p = 0; p < pieces; ++p) {
    static thread_local Tiles tiles;
    static thread_local Array<int8_t> kept;
    static thread_local Array<float> units;
    const Claim claim(true);
    const I n0 = p * s.piece, n1 = lesser(s.images, n0 + s.piece);
    if (!kept.fit((n1 - n0) * size * 3 * room) || !units.fit(n1 - n0)) { failed = 1; continue; }
    for (I n = n0; n < n1; ++n) {
      const float* const from = x + n * size * s.in;
      const float unit = units.data[n - n0] = unit_of(largest(from, size * s.in)), inverse = inverse_of(unit);
      for (I i = 0; i < size; ++i) {
        int8_t* const to = kept.data + ((n - n0) * size + i) * 3 * room;
        digits(to, room, from + i * s.in, s.in, inverse);
        for (I q = 0; q < 3 && room > s.in; ++q) memset(to + q * room + s.in, 0, room - s.in);
      }
    }
    const I last = n1 * s.outHeight;
    for (I r0 = n0 * s.outHeight, r1; r0 < last && !failed; r0 = r1) {
      r1 = lesser(last, r0 + together);
      if (!tiles.make(s, Floats{kept.data, room, n0 * size}, r0, r1)) failed = 1;
      else convolved(s, tiles, (const char*)a[1], (float*)a[2], units.data, n0, r0, r1);
    }
  }
  return failed;
}
