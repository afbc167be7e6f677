// Dense products of whole numbers, by matrix tiles (Intel AMX) where the processor has them: gather.h and lists.h come before this text.
// Spikes and counts are exact in 8 bits, and a float32 weight is the sum of three bfloat16 ones: three products of bfloat16 and float32 sums
// give what float32 gives. int8 weights need one product, with int32 sums. The time does not depend on the density.
// A tile has 16 rows of 64 bytes: of the inputs 16 pixels of one chunk of channels, of the weights the rows of 2 or 4 neighbouring inputs.
// Weights [blocks, stride / 16, taps, chunks, parts, 16 rows, 16 outputs, 4 bytes]. Inputs either as they lie, padded, a row of pixels in
// each chunk, so that every tap reads them from elsewhere; or, where output rows are much shorter than a tile, once more for every tap.
#if defined(__AMX_BF16__) && !defined(__SANITIZE_ADDRESS__)  // which does not see what tiles read
#define TILED
#include <sys/syscall.h>
#include <unistd.h>
#endif
enum : I { ROWS = 16, BYTES_OF_TILE = 1024 };  // rows of a tile, and its bytes

template <class K> struct Split;
template <> struct Split<Real> { enum : I { CHUNK = 32, PARTS = 3 }; };  // inputs of a chunk, products of a weight
template <> struct Split<Whole> { enum : I { CHUNK = 64, PARTS = 1 }; };

// 0: there are none and plain loops do it; 1: this process may use them, for which the system must be asked once; 2: it may not
static inline int tiles_state() {
#ifdef TILED
  static const int state = syscall(SYS_arch_prctl, 0x1023, 18) ? 2 : 1;  // ARCH_REQ_XCOMP_PERM, XTILEDATA
  return state;
#else
  return 0;
#endif
}

#ifdef TILED
// palette 1: eight tiles of ROWS rows of 64 bytes
static const struct alignas(64) Layout {
  uint8_t palette = 1, start = 0, none[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {ROWS, ROWS, ROWS, ROWS, ROWS, ROWS, ROWS, ROWS};
} LAYOUT;

// the tiles of a thread while it lives
struct Claim {
  const bool held;
  explicit Claim(bool wanted) : held(wanted) { if (held) _tile_loadconfig(&LAYOUT); }
  ~Claim() { if (held) _tile_release(); }
};

// the products of R tiles of pixels with the weights of n chunks, each to 16 rows of `pitch`: of 16 outputs, or of 32 for whole numbers.
// a: where a tile's pixels begin, `step` bytes from one to the next; at: where a chunk does; more: to the weights of the next 16 outputs
template <int R> static inline void product(float* const* to, I pitch, const char* const* a, I step, const I* at, const char* w, I n, I) {
  _tile_zero(0);
  if (R > 1) _tile_zero(1);
  if (R > 2) _tile_zero(2);
  if (R > 3) _tile_zero(3);
  for (I k = 0; k < n; ++k, w += 3 * BYTES_OF_TILE) {
    _tile_loadd(5, w, 64);
    _tile_loadd(6, w + BYTES_OF_TILE, 64);
    _tile_loadd(7, w + 2 * BYTES_OF_TILE, 64);
#define ROW(r) if (R > r) { _tile_loadd(4, a[r] + at[k], step); _tile_dpbf16ps(r, 4, 5); _tile_dpbf16ps(r, 4, 6); _tile_dpbf16ps(r, 4, 7); }
    ROW(0) ROW(1) ROW(2) ROW(3)
#undef ROW
  }
  _tile_stored(0, to[0], pitch * 4);
  if (R > 1) _tile_stored(1, to[1], pitch * 4);
  if (R > 2) _tile_stored(2, to[2], pitch * 4);
  if (R > 3) _tile_stored(3, to[3], pitch * 4);
}
template <int R> static inline void product(int32_t* const* to, I pitch, const char* const* a, I step, const I* at, const char* w, I n, I more) {
  _tile_zero(0);
  _tile_zero(1);
  if (R > 1) { _tile_zero(2); _tile_zero(3); }
  for (I k = 0; k < n; ++k, w += BYTES_OF_TILE) {
    _tile_loadd(4, a[0] + at[k], step);
    if (R > 1) _tile_loadd(5, a[1] + at[k], step);
    _tile_loadd(6, w, 64);
    _tile_loadd(7, w + more, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    if (R > 1) { _tile_dpbssd(2, 5, 6); _tile_dpbssd(3, 5, 7); }
  }
  _tile_stored(0, to[0], pitch * 4);
  _tile_stored(1, to[0] + ROWS, pitch * 4);
  if (R > 1) { _tile_stored(2, to[1], pitch * 4); _tile_stored(3, to[1] + ROWS, pitch * 4); }
}
#else
struct Claim { explicit Claim(bool) {} };

static inline float wide(uint16_t half) {
  const U bits = (U)half << 16;
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

// the same by plain loops, so that any machine can test the layout
template <int R> static inline void product(float* const* to, I pitch, const char* const* a, I step, const I* at, const char* w, I n, I) {
  for (I r = 0; r < R * ROWS; ++r)
    for (I c = 0; c < 16; ++c) {
      float sum = 0;
      for (I k = 0; k < n; ++k)
        for (I q = 0; q < 3; ++q)
          for (I i = 0; i < 32; ++i)
            sum += wide(((const uint16_t*)(a[r / 16] + at[k] + r % 16 * step))[i]) *
                   wide(((const uint16_t*)(w + (3 * k + q) * BYTES_OF_TILE))[i / 2 * 32 + c * 2 + i % 2]);
      to[r / 16][r % 16 * pitch + c] = sum;
    }
}
template <int R> static inline void product(int32_t* const* to, I pitch, const char* const* a, I step, const I* at, const char* w, I n, I more) {
  for (I r = 0; r < R * ROWS; ++r)
    for (I c = 0; c < 32; ++c) {
      int32_t sum = 0;
      for (I k = 0; k < n; ++k)
        for (I i = 0; i < 64; ++i)
          sum += ((const int8_t*)(a[r / 16] + at[k] + r % 16 * step))[i] *
                 ((const int8_t*)(w + c / 16 * more + k * BYTES_OF_TILE))[i / 4 * 64 + c % 16 * 4 + i % 4];
      to[r / 16][r % 16 * pitch + c] = sum;
    }
}
#endif

// the numbers of one word as 64 bytes
static inline void spread(int8_t* to, const Shape& s, const Word* w, I size) {
#ifdef __AVX512BW__
  __m512i x = _mm512_maskz_set1_epi8(w[0], 1);
  for (I p = 1; p < s.planes; ++p) x = _mm512_mask_add_epi8(x, w[p * size], x, _mm512_set1_epi8((char)(1 << p)));
  if (s.sign) x = _mm512_mask_sub_epi8(x, w[s.planes * size], _mm512_setzero_si512(), x);
  _mm512_storeu_si512(to, x);
#else
  for (I c = 0; c < 64; ++c) {
    int x = 0;
    for (I p = 0; p < s.planes; ++p) x |= (int)(w[p * size] >> c & 1) << p;
    to[c] = (int8_t)(s.sign && w[s.planes * size] >> c & 1 ? -x : x);
  }
#endif
}

// the numbers of half a word as 32 bfloat16
static inline void spread(uint16_t* to, const Shape& s, const Word* w, I size, int shift) {
#ifdef __AVX512BW__
  if (s.planes == 1 && !s.sign) {
    _mm512_storeu_si512(to, _mm512_maskz_set1_epi16((__mmask32)(w[0] >> shift), 0x3f80));
    return;
  }
  __m512i x = _mm512_setzero_si512();
  for (I p = 0; p < s.planes; ++p) x = _mm512_mask_add_epi16(x, (__mmask32)(w[p * size] >> shift), x, _mm512_set1_epi16((short)(1 << p)));
  if (s.sign) x = _mm512_mask_sub_epi16(x, (__mmask32)(w[s.planes * size] >> shift), _mm512_setzero_si512(), x);
  const auto half = [](__m256i part) {
    const __m512i bits = _mm512_castps_si512(_mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(part)));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16));
  };
  _mm256_storeu_si256((__m256i*)to, half(_mm512_castsi512_si256(x)));
  _mm256_storeu_si256((__m256i*)(to + 16), half(_mm512_extracti64x4_epi64(x, 1)));
#else
  for (I c = 0; c < 32; ++c) {
    int x = 0;
    for (I p = 0; p < s.planes; ++p) x |= (int)(w[p * size] >> (shift + c) & 1) << p;
    const float value = (float)(s.sign && w[s.planes * size] >> (shift + c) & 1 ? -x : x);
    U bits;
    memcpy(&bits, &value, 4);
    to[c] = (uint16_t)(bits >> 16);
  }
#endif
}

// what reaches the pixels of output rows [r0, r1), spread out
struct Tiles {
  Array<char> data;
  Array<I> at, first;  // where each chunk of each tap begins, and each output row
  I step = 0;  // bytes from an output pixel to the next
  bool rows = false;  // a tile lies in one output row

  template <class K> bool make(const Shape& s, const Word* words, I r0, I r1) {
    const I chunks = (s.in + Split<K>::CHUNK - 1) / Split<K>::CHUNK;
    if (!at.fit(s.kh * s.kw * chunks) || !first.fit(r1 - r0 + 1)) return false;
    rows = s.outWidth >= LONG;
    return rows ? padded<K>(s, words, r0, r1, chunks) : by_tap<K>(s, words, r0, r1, chunks);
  }

  // where the tile at pixel i begins
  const char* of(const Shape& s, I i) const { return data.data + (rows ? first.data[i / s.outWidth] + i % s.outWidth * step : i * step); }

 private:
  enum : I { LONG = 12 };

  // each input row once, `chunks` times [padded width, 64 bytes]
  template <class K> bool padded(const Shape& s, const Word* words, I r0, I r1, I chunks) {
    const I reach = (s.kh - 1) * s.dh + 1, wide = greater(s.width + s.pw, (greater(s.outWidth, ROWS) - 1) * s.sw + (s.kw - 1) * s.dw + 1 - s.pw) + s.pw;
    const I row = wide * 64, plane = (r1 - r0) * (reach + s.sh) * row;  // at most
    if (!data.fit(chunks * plane + ROWS * s.sw * 64)) return false;
    step = s.sw * 64;
    for (I ky = 0; ky < s.kh; ++ky)
      for (I kx = 0; kx < s.kw; ++kx)
        for (I k = 0; k < chunks; ++k) at.data[(ky * s.kw + kx) * chunks + k] = k * plane + ky * s.dh * row + kx * s.dw * 64;
    I used = 0, y = 0, image = -1;  // rows of the buffer, and the input row that comes next
    for (I r = r0; r < r1; ++r) {
      const I n = r / s.outHeight, top = r % s.outHeight * s.sh - s.ph;
      if (n != image || y < top) { image = n; y = top; }
      first.data[r - r0] = (used - (y - top)) * row;
      for (; y < top + reach; ++y, ++used) {
        char* const to = data.data + used * row;
        if (y < 0 || y >= s.height) {
          for (I k = 0; k < chunks; ++k) memset(to + k * plane, 0, row);
          continue;
        }
        for (I k = 0; k < chunks; ++k) {
          memset(to + k * plane, 0, s.pw * 64);
          memset(to + k * plane + (s.pw + s.width) * 64, 0, (wide - s.pw - s.width) * 64);
        }
        spread_row<K>(to + s.pw * 64, s, words, (n * s.height + y) * s.width, s.width, 1, chunks, plane);
      }
    }
    return true;
  }

  // the inputs of each tap, `chunks` times [pixels, 64 bytes]
  template <class K> bool by_tap(const Shape& s, const Word* words, I r0, I r1, I chunks) {
    const I pixels = (r1 - r0) * s.outWidth, plane = (pixels + ROWS) * 64;
    if (!data.fit(s.kh * s.kw * chunks * plane)) return false;
    step = 64;
    for (I ky = 0; ky < s.kh; ++ky)
      for (I kx = 0; kx < s.kw; ++kx) {
        const I tap = (ky * s.kw + kx) * chunks, left = kx * s.dw - s.pw;
        for (I k = 0; k < chunks; ++k) at.data[tap + k] = (tap + k) * plane;
        // outputs from a on, below b, have their input inside the row
        const I a = lesser(s.outWidth, left < 0 ? (-left + s.sw - 1) / s.sw : 0), b = greater(a, lesser(s.outWidth, (s.width - left + s.sw - 1) / s.sw));
        for (I r = r0; r < r1; ++r) {
          const I y = r % s.outHeight * s.sh - s.ph + ky * s.dh;
          const bool inside = y >= 0 && y < s.height;
          char* const to = data.data + tap * plane + (r - r0) * s.outWidth * 64;
          for (I k = 0; k < chunks; ++k) {
            if (a || !inside) memset(to + k * plane, 0, (inside ? a : s.outWidth) * 64);
            if (b < s.outWidth && inside) memset(to + k * plane + b * 64, 0, (s.outWidth - b) * 64);
          }
          if (inside) spread_row<K>(to + a * 64, s, words, (r / s.outHeight * s.height + y) * s.width + left + a * s.sw, b - a, s.sw, chunks, plane);
        }
        for (I k = 0; k < chunks; ++k) memset(data.data + (tap + k) * plane + pixels * 64, 0, ROWS * 64);
      }
    return true;
  }

  // n pixels from `pixel` on, each `apart` from the last
  template <class K> static inline void spread_row(char* to, const Shape& s, const Word* words, I pixel, I n, I apart, I chunks, I plane) {
    const I width = s.words(), size = s.images * s.height * s.width * width;
    for (I k = 0; k < chunks; ++k, to += plane) {
      const Word* w = words + pixel * width + k * Split<K>::CHUNK / 64;
      for (I x = 0; x < n; ++x, w += apart * width) {
        if constexpr (Split<K>::CHUNK == 64) spread((int8_t*)(to + x * 64), s, w, size);
        else spread((uint16_t*)(to + x * 64), s, w, size, (int)(k % 2 * 32));
      }
    }
  }
};

// what reaches output rows, in the form that the call wants: lists, or tiles where the shape has no parts
struct Inputs {
  Lists lists;
  Tiles tiles;

  template <class K> bool make(const Shape& s, const Word* words, I group, I r0, I r1) {
    return s.parts ? lists.make(s, words, group, r0, r1, (U)(s.stride * K::SIZE)) : tiles.make<K>(s, words, r0, r1);
  }
};

// bytes of the weights of a block
template <class K> static inline I slab(const Shape& s) {
  const I chunks = (s.in + Split<K>::CHUNK - 1) / Split<K>::CHUNK;
  return s.parts ? (s.kh * s.kw * s.in + 1) * s.stride * K::SIZE : s.stride / 16 * s.kh * s.kw * chunks * Split<K>::PARTS * BYTES_OF_TILE;
}

// as `currents` of lists; sums has room for ROWS pixels more
template <class K, int V>
static inline void currents(typename K::Sum* sums, const typename K::Sum* bias, const char* w, const Shape& s, const Inputs& from, I i, I m) {
  if (s.parts) return currents<K, V>(sums, bias, w, s, from.lists, i, m);
  enum : I { PITCH = V * K::WIDTH, MOST = K::SIZE == 4 ? 4 : 2, WIDE = 64 / MOST };
  const Tiles& tiles = from.tiles;
  const I n = s.kh * s.kw * ((s.in + Split<K>::CHUNK - 1) / Split<K>::CHUNK), column = n * Split<K>::PARTS * BYTES_OF_TILE;
  const char* a[MOST];
  typename K::Sum* to[MOST];
  const I columns = lesser((I)PITCH, (s.out + WIDE - 1) / WIDE * WIDE);  // of a single block; others are whole but for their last
  I had = 0;
  for (I j = 0; j < m;) {
    // the last tile of a row overlaps the one before it; one of a short row spills into what comes after and is written over
    const I left = tiles.rows ? lesser(m - j, s.outWidth - (i + j) % s.outWidth) : m - j, back = left < ROWS && tiles.rows ? lesser(ROWS - left, (i + j) % s.outWidth) : 0;
    const I from_j = lesser(back, j);
    a[had] = tiles.of(s, i + j - from_j);
    to[had++] = sums + (j - from_j) * PITCH;
    j += lesser(left, ROWS);
    if (had < MOST && j < m) continue;
    for (I c = 0; c < columns; c += WIDE) {
      const char* const b = w + c / 16 * column;
      if (had == 1) product<1>(to, PITCH, a, tiles.step, tiles.at.data, b, n, column);
      else if (had == 2) product<2>(to, PITCH, a, tiles.step, tiles.at.data, b, n, column);
      else if (had == 3) product<MOST == 4 ? 3 : 2>(to, PITCH, a, tiles.step, tiles.at.data, b, n, column);
      else product<MOST>(to, PITCH, a, tiles.step, tiles.at.data, b, n, column);
      for (I r = 0; r < had; ++r) to[r] += WIDE;
    }
    had = 0;
  }
  for (I j = 0; j < m; ++j) {
    for (I c = columns; c < PITCH; ++c) sums[j * PITCH + c] = 0;
    for (I c = 0; c < PITCH; ++c) sums[j * PITCH + c] += bias[c];
  }
}
extern "C" int tiles(const I*) { return tiles_state(); }
