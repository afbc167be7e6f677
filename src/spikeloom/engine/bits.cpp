// Small whole numbers as planes of bits, 64 channels to a word, and back.
#include <stdint.h>
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif
typedef int64_t I;
typedef uint64_t Word;
struct Brain { uint16_t half; };  // bfloat16

static inline float get(float x) { return x; }
static inline float get(int8_t x) { return (float)x; }
static inline float get(Brain x) { const uint32_t u = (uint32_t)x.half << 16; float f; memcpy(&f, &u, 4); return f; }
static inline void put(float& to, float x) { to = x; }
static inline void put(int8_t& to, float x) { to = (int8_t)x; }
static inline void put(Brain& to, float x) { uint32_t u; memcpy(&u, &x, 4); to.half = (uint16_t)(u >> 16); }  // exact up to 256

// x [images, channels, height, width] with strides in elements; channels or pixels of a row are neighbours
struct Pack { I threads, images, channels, height, width, planes, sign, stride[4]; };

// the magnitude of v below 256, and whether it is not one
static inline uint8_t code(float v, int top, int sign, int& bad) {
  const float a = v < 0 ? -v : v;
  const int c = (int)(a <= (float)top ? a : 0.0f);
  bad |= ((float)c != a) | (!sign & (v < 0));
  return (uint8_t)c;
}

// the codes of `count` neighbours
template <class X> static inline void encode(uint8_t* codes, const X* from, I count, int top, int sign, int& bad) {
  I j = 0;
  int wrong = 0;
  for (; j + 64 <= count; j += 64)
    for (int i = 0; i < 64; ++i) codes[j + i] = code(get(from[j + i]), top, sign, wrong);
  for (; j + 16 <= count; j += 16)
    for (int i = 0; i < 16; ++i) codes[j + i] = code(get(from[j + i]), top, sign, wrong);
  for (; j < count; ++j) codes[j] = code(get(from[j]), top, sign, wrong);
  bad |= wrong;
}

// bit p of the first `count` of 64 codes
static inline Word plane(const uint8_t* codes, int p, I count) {
  Word word = 0;
  for (int j = 0; 8 * j < count; ++j) {
    Word eight;
    memcpy(&eight, codes + 8 * j, 8);
    word |= ((eight >> p & 0x0101010101010101u) * 0x0102040810204080u >> 56) << (8 * j);
  }
  return word;
}

// the bits of plain spikes, up to 64 neighbours
template <class X> static inline Word spikes(const X* from, I count, int& bad) {
  uint8_t codes[64] = {};
  encode(codes, from, count, 1, 0, bad);
  return plane(codes, 0, count);
}
#if defined(__AVX512F__)
static inline Word spikes(const float* from, I count, int& bad) {
  Word word = 0;
  for (I j = 0; j < count; j += 16) {
    const __mmask16 here = (__mmask16)(count - j < 16 ? (1 << (count - j)) - 1 : 0xffff);
    const __m512 x = _mm512_maskz_loadu_ps(here, from + j);
    const __mmask16 one = _mm512_cmp_ps_mask(x, _mm512_set1_ps(1), _CMP_EQ_OQ);
    bad |= (uint16_t)~(one | _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_EQ_OQ)) != 0;
    word |= (Word)one << j;
  }
  return word;
}
#elif defined(__AVX2__)
static inline Word spikes(const float* from, I count, int& bad) {
  Word word = 0;
  I j = 0;
  for (; j + 8 <= count; j += 8) {
    const __m256 x = _mm256_loadu_ps(from + j);
    const int one = _mm256_movemask_ps(_mm256_cmp_ps(x, _mm256_set1_ps(1), _CMP_EQ_OQ));
    bad |= (one | _mm256_movemask_ps(_mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_EQ_OQ))) != 255;
    word |= (Word)one << j;
  }
  for (; j < count; ++j) {
    bad |= from[j] != 0 && from[j] != 1;
    word |= (Word)(from[j] == 1) << j;
  }
  return word;
}
#endif

// one row of pixels into words that are `size` apart from plane to plane
template <class X> static int row(Word* to, I size, const X* x, const Pack& s) {
  const I words = (s.channels + 63) / 64, step = s.stride[1];
  const int top = (1 << s.planes) - 1, sign = (int)s.sign;
  int bad = 0;
  for (I k = 0; k < words; ++k) {
    const I count = s.channels - 64 * k < 64 ? s.channels - 64 * k : 64;
    if (step == 1 && s.planes == 1 && !sign) {
      for (I i = 0; i < s.width; ++i) to[i * words + k] = spikes(x + i * s.stride[3] + 64 * k, count, bad);
      continue;
    }
    if (step == 1) {
      for (I i = 0; i < s.width; ++i) {
        const X* const from = x + i * s.stride[3] + 64 * k;
        uint8_t codes[64] = {};
        encode(codes, from, count, top, sign, bad);
        for (I p = 0; p < s.planes; ++p) to[p * size + i * words + k] = plane(codes, (int)p, count);
        if (!sign) continue;
        for (I j = 0; j < count; ++j) codes[j] = get(from[j]) < 0;
        to[s.planes * size + i * words + k] = plane(codes, 0, count);
      }
      continue;
    }
    for (I i = 0; i < s.width; i += 64) {
      const I m = s.width - i < 64 ? s.width - i : 64;
      Word found[8][64];
      for (I p = 0; p < s.planes + sign; ++p) memset(found[p], 0, m * sizeof(Word));
      for (I c = 0; c < count; ++c) {
        const X* const from = x + (64 * k + c) * step + i * s.stride[3];
        uint8_t codes[64];
        encode(codes, from, m, top, sign, bad);
        for (I p = 0; p < s.planes; ++p)
          for (I j = 0; j < m; ++j) found[p][j] |= (Word)(codes[j] >> p & 1) << c;
        if (sign)
          for (I j = 0; j < m; ++j) found[s.planes][j] |= (Word)(get(from[j]) < 0) << c;
      }
      for (I p = 0; p < s.planes + sign; ++p)
        for (I j = 0; j < m; ++j) to[p * size + (i + j) * words + k] = found[p][j];
    }
  }
  return bad;
}

template <class X> static int packed(const Pack& s, const X* x, Word* to) {
  const I rows = s.images * s.height, pitch = s.width * ((s.channels + 63) / 64);
  int bad = 0;
#pragma omp parallel for num_threads((int)s.threads) schedule(static) reduction(| : bad)
  for (I r = 0; r < rows; ++r)
    bad |= row(to + r * pitch, rows * pitch, x + r / s.height * s.stride[0] + r % s.height * s.stride[2], s);
  return bad;
}

// the eight values of a byte
template <class X> struct Eights {
  X of[256][8];
  Eights() { for (int b = 0; b < 256; ++b) for (int j = 0; j < 8; ++j) put(of[b][j], (float)(b >> j & 1)); }
};

// m channels of one word, with more planes or signs than one bit can say
template <class X> static void valued(const Pack& s, const Word* at, I size, X* out, I m) {
  for (I j = 0; j < m; ++j) {
    int value = 0;
    for (I p = 0; p < s.planes; ++p) value += (int)(at[p * size] >> j & 1) << p;
    put(out[j], (float)(s.sign && at[s.planes * size] >> j & 1 ? -value : value));
  }
}

// to [pixels, channels]
template <class X> static int unpacked(const Pack& s, const Word* words, X* to) {
  static const Eights<X> eights;
  const I pixels = s.images * s.height * s.width, count = (s.channels + 63) / 64, size = pixels * count;
#pragma omp parallel for num_threads((int)s.threads) schedule(static)
  for (I i = 0; i < pixels; ++i)
    for (I k = 0; k < count; ++k) {
      const I m = s.channels - 64 * k < 64 ? s.channels - 64 * k : 64;
      const Word* const at = words + i * count + k;
      X* const out = to + i * s.channels + 64 * k;
      if (s.planes > 1 || s.sign) {
        valued(s, at, size, out, m);
        continue;
      }
      I j = 0;
#ifdef __AVX512F__
      if (sizeof(X) == 4)
        for (; j + 16 <= m; j += 16) _mm512_storeu_ps((float*)(out + j), _mm512_maskz_mov_ps((__mmask16)(*at >> j), _mm512_set1_ps(1)));
#endif
      for (; j + 8 <= m; j += 8) memcpy(out + j, eights.of[*at >> j & 255], 8 * sizeof(X));
      if (j < m) memcpy(out + j, eights.of[*at >> j & 255], (m - j) * sizeof(X));
    }
  return 0;
}

// with: Pack, kind of x (0 float32, 1 bfloat16, 2 int8), the addresses of x and of the words. `pack` returns 1 where x holds anything else
extern "C" int pack(const I* with) {
  const Pack& s = *(const Pack*)with;
  const I* const a = with + sizeof(Pack) / sizeof(I);
  Word* const to = (Word*)a[2];
  return a[0] == 0 ? packed(s, (const float*)a[1], to) : a[0] == 1 ? packed(s, (const Brain*)a[1], to) : packed(s, (const int8_t*)a[1], to);
}
extern "C" int unpack(const I* with) {
  const Pack& s = *(const Pack*)with;
  const I* const a = with + sizeof(Pack) / sizeof(I);
  const Word* const from = (const Word*)a[2];
  return a[0] == 0 ? unpacked(s, from, (float*)a[1]) : a[0] == 1 ? unpacked(s, from, (Brain*)a[1]) : unpacked(s, from, (int8_t*)a[1]);
}

// with: words, threads, their address and that of the sum: bits that are set
extern "C" int count(const I* with) {
  const Word* const words = (const Word*)with[2];
  I found = 0;
#pragma omp parallel for num_threads((int)with[1]) schedule(static) reduction(+ : found)
  for (I i = 0; i < with[0]; ++i) found += __builtin_popcountll(words[i]);
  *(I*)with[3] = found;
  return 0;
}
