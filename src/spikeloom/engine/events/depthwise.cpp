// Depthwise convolution of bits: a word is a mask on the weights of its 64 channels. gather.h and lists.h come before this text.
typedef int32_t Mask __attribute__((vector_size(32), may_alias));
typedef float Real8 __attribute__((vector_size(32), may_alias, aligned(4)));
typedef int32_t Whole8 __attribute__((vector_size(32), may_alias, aligned(4)));

#ifdef __AVX512F__
static inline void add(float* sum, const float* w, Word word) {
  for (int k = 0; k < 4; ++k) {
    const __m512 s = _mm512_loadu_ps(sum + 16 * k);
    _mm512_storeu_ps(sum + 16 * k, _mm512_mask_add_ps(s, (__mmask16)(word >> (16 * k)), s, _mm512_loadu_ps(w + 16 * k)));
  }
}
#else
static inline void add(float* sum, const float* w, Word word);
#endif
// lanes of the bits of a byte
static const struct Masks {
  Mask of[256];
  Masks() { for (int b = 0; b < 256; ++b) for (int j = 0; j < 8; ++j) of[b][j] = -(b >> j & 1); }
} masks;
template <class Eight> static inline void add_masked(void* sum, const void* w, Word word) {
  for (int k = 0; k < 8; ++k) ((Eight*)sum)[k] += (Eight)((Mask)((const Eight*)w)[k] & masks.of[word >> (8 * k) & 255]);
}
#ifndef __AVX512F__
static inline void add(float* sum, const float* w, Word word) { add_masked<Real8>(sum, w, word); }
#endif
static inline void add(int32_t* sum, const int32_t* w, Word word) { add_masked<Whole8>(sum, w, word); }

// weights [kh * kw, 64 * words], bias [64 * words]
template <class S> static int depthwise(const Shape& s, const Word* bits, const S* w, const S* bias, S* out) {
  const I rows = s.images * s.outHeight, words = s.words(), wide = 64 * words;
#pragma omp parallel for num_threads((int)s.threads) schedule(static)
  for (I r = 0; r < rows; ++r) {
    const I n = r / s.outHeight, y0 = r % s.outHeight * s.sh - s.ph;
    for (I ox = 0; ox < s.outWidth; ++ox)
      for (I k = 0; k < words; ++k) {
        S sum[64] = {};
        for (I q = 0; q < s.sheets(); ++q) {
          const Sheet sheet = Sheet::of(s, bits, q);
          if (q) for (int j = 0; j < 64; ++j) sum[j] *= (S)sheet.factor;
          for (I ky = 0, y = y0; ky < s.kh; ++ky, y += s.dh) {
            if (y < 0 || y >= s.height) continue;
            for (I kx = 0, x = ox * s.sw - s.pw; kx < s.kw; ++kx, x += s.dw) {
              if (x < 0 || x >= s.width) continue;
              const Word word = sheet.at(((n * s.height + y) * s.width + x) * words + k);
              if (word) add(sum, w + (ky * s.kw + kx) * wide + 64 * k, word);
            }
          }
        }
        for (int j = 0; j < 64; ++j) sum[j] += bias[64 * k + j];
        memcpy(out + (r * s.outWidth + ox) * s.channels + 64 * k, sum, lesser(64, s.channels - 64 * k) * sizeof(S));
      }
  }
  return 0;
}

// with: as for `real` and `whole` of conv.cpp
template <class S> static int call(const I* with) {
  const I* const a = with + sizeof(Shape) / sizeof(I);
  return depthwise<S>(*(const Shape*)with, (const Word*)a[0], (const S*)a[1], (const S*)a[2], (S*)a[3]);
}
extern "C" int real(const I* with) { return call<float>(with); }
extern "C" int whole(const I* with) { return call<int32_t>(with); }
