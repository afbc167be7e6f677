// Dense products of whole numbers, by matrix tiles (Intel AMX) where the processor has them: gather.h and lists.h come before this text.
// Spikes and counts are exact in 8 bits. A float32 weight is a whole number of 24 bits, three digits of 8, times a unit for each output, a
// power of two: three products and int32 sums, exact until they leave as float32. int8 weights need one product. The time does not depend
// on the density.
// A tile has 16 rows of 64 bytes: of the inputs 16 pixels of one chunk of channels, or, of few channels, 2 or 4 neighbouring taps of a row;
// of the weights the rows of 4 neighbouring inputs. Weights for each block of outputs [stride / 16, parts, taps, chunks, 16 rows, 16
// outputs, 4 bytes], float32 ones then a unit for each of the 16 outputs. Inputs either as they lie, padded, a row of pixels in each chunk,
// so that every tap reads them from elsewhere; or, where output rows are much shorter than a tile, once more for every tap.
#if defined(__AMX_INT8__) && !defined(__SANITIZE_ADDRESS__)  // which does not see what tiles read
#define TILED
#include <sys/syscall.h>
#include <unistd.h>
#endif
enum : I { ROWS = 16, BYTES_OF_TILE = 1024, NUMBERS = 256 };  // rows of a tile, its bytes, and its int32 numbers

enum : I { CHUNK = 64, FOUR = 4, MOST_TILES = TILE / 8 };  // inputs of a product; tiles of sums at a time; of pixels in a call of `currents`

// parts: products of a weight; units: bytes behind a column of weights
template <class K> struct Split;
template <> struct Split<Real> { enum : I { PARTS = 3, UNITS = 64 }; };
template <> struct Split<Whole> { enum : I { PARTS = 1, UNITS = 0 }; };

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

// the products of R tiles of pixels with n chunks of weights for C times 16 outputs: `to` int32 [R, C, 16 pixels, 16 outputs].
// a: where a tile's pixels begin, `step` bytes from one to the next; at: where a chunk does; more: bytes to the weights of the next outputs
template <int R, int C> static inline void product(int32_t* to, const char* const* a, I step, const I* at, const char* w, I n, I more) {
  _tile_zero(0);
  if (C > 1) _tile_zero(1);
  if (R > 1) _tile_zero(2);
  if (R * C > 3) _tile_zero(3);
  for (I k = 0; k < n; ++k, w += BYTES_OF_TILE) {
    _tile_loadd(4, a[0] + at[k], step);
    _tile_loadd(6, w, 64);
    _tile_dpbssd(0, 4, 6);
    if (C > 1) { _tile_loadd(7, w + more, 64); _tile_dpbssd(1, 4, 7); }
    if (R > 1) { _tile_loadd(5, a[1] + at[k], step); _tile_dpbssd(2, 5, 6); }
    if (R * C > 3) _tile_dpbssd(3, 5, 7);
  }
  _tile_stored(0, to, 64);
  if (C > 1) _tile_stored(1, to + NUMBERS, 64);
  if (R > 1) _tile_stored(2, to + C * NUMBERS, 64);
  if (R * C > 3) _tile_stored(3, to + 3 * NUMBERS, 64);
}
#else
struct Claim { explicit Claim(bool) {} };

// the same by plain loops, so that any machine can test the layout
template <int R, int C> static inline void product(int32_t* to, const char* const* a, I step, const I* at, const char* w, I n, I more) {
  for (I r = 0; r < R * ROWS; ++r)
    for (I c = 0; c < C * 16; ++c) {
      int32_t sum = 0;
      for (I k = 0; k < n; ++k)
        for (I i = 0; i < CHUNK; ++i)
          sum += ((const int8_t*)(a[r / 16] + at[k] + r % 16 * step))[i] *
                 ((const int8_t*)(w + c / 16 * more + k * BYTES_OF_TILE))[i / 4 * 64 + c % 16 * 4 + i % 4];
      to[(r / 16 * C + c / 16) * NUMBERS + r % 16 * 16 + c % 16] = sum;
    }
}
#endif

// 16 pixels and outputs of what `product` found, with the bias: digits, `apart` numbers from one to the next, put together in float32
static inline void finish(float* __restrict to, I pitch, const int32_t* __restrict x, I apart, const float* __restrict bias, const float* __restrict unit) {
  for (I r = 0; r < ROWS; ++r, to += pitch, x += 16)
    for (I c = 0; c < 16; ++c) to[c] = ((float)x[c] * 65536 + (float)x[apart + c] * 256 + (float)x[2 * apart + c]) * unit[c] + bias[c];
}
static inline void finish(int32_t* __restrict to, I pitch, const int32_t* __restrict x, I, const int32_t* __restrict bias, const float*) {
  for (I r = 0; r < ROWS; ++r, to += pitch, x += 16)
    for (I c = 0; c < 16; ++c) to[c] = x[c] + bias[c];
}

// where the numbers of a pixel come from: bits, as one part
struct Spikes {
  enum : I { PARTS = 1 };
  const Shape& s;
  const Word* words;

  // chunk k of a pixel, its first `lanes` numbers as bytes
  void put(char* to, I, I pixel, I k, I lanes) const {
    const I size = s.images * s.height * s.width * s.words();
    const Word* const w = words + pixel * s.words() + k;
#ifdef __AVX512BW__
    __m512i x = _mm512_maskz_set1_epi8(w[0], 1);
    for (I p = 1; p < s.planes; ++p) x = _mm512_mask_add_epi8(x, w[p * size], x, _mm512_set1_epi8((char)(1 << p)));
    if (s.sign) x = _mm512_mask_sub_epi8(x, w[s.planes * size], _mm512_setzero_si512(), x);
    _mm512_mask_storeu_epi8(to, ~(Word)0 >> (CHUNK - lanes), x);
#else
    for (I c = 0; c < lanes; ++c) {
      int x = 0;
      for (I p = 0; p < s.planes; ++p) x |= (int)(w[p * size] >> c & 1) << p;
      to[c] = (char)(s.sign && w[s.planes * size] >> c & 1 ? -x : x);
    }
#endif
  }
};

// how the inputs of an output lie in chunks: taps of a row side by side, bytes of each, chunks of a tap, and of all
struct Chunks {
  I together, lanes, each, across, all;
  explicit Chunks(const Shape& s)
      : together(s.kw == 1 || s.in > CHUNK / 2 ? 1 : s.in > CHUNK / 4 ? 2 : 4), lanes(CHUNK / together), each((s.in + CHUNK - 1) / CHUNK),
        across((s.kw + together - 1) / together), all(s.kh * across * each) {}
};

// what reaches the pixels of output rows [r0, r1), spread out
struct Tiles {
  Array<char> data;
  Array<I> at, first;  // where each chunk of each part begins, and each output row
  I step = 0;  // bytes from an output pixel to the next
  bool rows = false;  // a tile lies in one output row

  template <class Source> bool make(const Shape& s, const Source& from, I r0, I r1) {
    const Chunks c(s);
    if (!at.fit(Source::PARTS * c.all) || !first.fit(r1 - r0 + 1)) return false;
    rows = s.outWidth >= LONG && (c.together == 1 || s.dw == 1);
    return rows ? padded(s, c, from, r0, r1) : by_tap(s, c, from, r0, r1);
  }

  // where the tile at pixel i begins
  const char* of(const Shape& s, I i) const { return data.data + (rows ? first.data[i / s.outWidth] + i % s.outWidth * step : i * step); }

 private:
  enum : I { LONG = 12 };

  // each input row once, for each chunk of a tap [padded width, lanes]
  template <class Source> bool padded(const Shape& s, const Chunks& c, const Source& from, I r0, I r1) {
    const I reach = (s.kh - 1) * s.dh + 1, last = (greater(s.outWidth, ROWS) - 1) * s.sw + (c.across * c.together - 1) * s.dw - s.pw;
    const I wide = greater(s.width + s.pw, last + 1) + s.pw, row = wide * c.lanes, plane = (r1 - r0) * (reach + s.sh) * row;  // at most
    const I planes = Source::PARTS * c.each, part = c.each * plane;
    if (!data.fit(planes * plane + ROWS * s.sw * CHUNK)) return false;
    step = s.sw * c.lanes;
    I* to = at.data;
    for (I q = 0; q < Source::PARTS; ++q)
      for (I ky = 0; ky < s.kh; ++ky)
        for (I x = 0; x < c.across; ++x)
          for (I k = 0; k < c.each; ++k) *to++ = q * part + k * plane + ky * s.dh * row + x * c.together * s.dw * c.lanes;
    I used = 0, y = 0, image = -1;  // rows of the buffer, and the input row that comes next
    for (I r = r0; r < r1; ++r) {
      const I n = r / s.outHeight, top = r % s.outHeight * s.sh - s.ph;
      if (n != image || y < top) { image = n; y = top; }
      first.data[r - r0] = (used - (y - top)) * row;
      for (; y < top + reach; ++y, ++used) {
        char* const to = data.data + used * row;
        if (y < 0 || y >= s.height) {
          for (I k = 0; k < planes; ++k) memset(to + k * plane, 0, row);
          continue;
        }
        for (I k = 0; k < planes; ++k) {
          memset(to + k * plane, 0, s.pw * c.lanes);
          memset(to + k * plane + (s.pw + s.width) * c.lanes, 0, (wide - s.pw - s.width) * c.lanes);
        }
        spread_row(to + s.pw * c.lanes, c.lanes, c, from, (n * s.height + y) * s.width, s.width, 1, plane);
      }
    }
    return true;
  }

  // the inputs of each tap, or of some side by side, for each chunk [pixels, 64 bytes]
  template <class Source> bool by_tap(const Shape& s, const Chunks& c, const Source& from, I r0, I r1) {
    const I pixels = (r1 - r0) * s.outWidth, plane = (pixels + ROWS) * CHUNK;
    if (!data.fit(Source::PARTS * c.all * plane)) return false;
    if (c.together > 1) memset(data.data, 0, Source::PARTS * c.all * plane);
    step = CHUNK;
    for (I q = 0; q < Source::PARTS; ++q)  // parts of a tap lie together
      for (I k = 0; k < c.all; ++k) at.data[q * c.all + k] = (k / c.each * Source::PARTS * c.each + q * c.each + k % c.each) * plane;
    for (I ky = 0; ky < s.kh; ++ky)
      for (I kx = 0; kx < s.kw; ++kx) {
        const I left = kx * s.dw - s.pw, first = (ky * c.across + kx / c.together) * Source::PARTS * c.each * plane + kx % c.together * c.lanes;
        // outputs from a on, below b, have their input inside the row
        const I a = lesser(s.outWidth, left < 0 ? (-left + s.sw - 1) / s.sw : 0), b = greater(a, lesser(s.outWidth, (s.width - left + s.sw - 1) / s.sw));
        for (I r = r0; r < r1; ++r) {
          const I y = r % s.outHeight * s.sh - s.ph + ky * s.dh;
          const bool inside = y >= 0 && y < s.height;
          char* const to = data.data + first + (r - r0) * s.outWidth * CHUNK;
          for (I k = 0; k < Source::PARTS * c.each && c.together == 1; ++k) {
            memset(to + k * plane, 0, (inside ? a : s.outWidth) * CHUNK);
            memset(to + k * plane + b * CHUNK, 0, (s.outWidth - b) * CHUNK);
          }
          if (inside) spread_row(to + a * CHUNK, CHUNK, c, from, (r / s.outHeight * s.height + y) * s.width + left + a * s.sw, b - a, s.sw, plane);
        }
        for (I k = 0; k < Source::PARTS * c.each && c.together == 1; ++k) memset(data.data + first + k * plane + pixels * CHUNK, 0, ROWS * CHUNK);
      }
    return true;
  }

  // n pixels from `pixel` on, each `apart` from the last, to every `pitch` bytes
  template <class Source> static inline void spread_row(char* to, I pitch, const Chunks& c, const Source& from, I pixel, I n, I apart, I plane) {
    for (I k = 0; k < c.each; ++k, to += plane)
      for (I x = 0; x < n; ++x) from.put(to + x * pitch, c.each * plane, pixel + x * apart, k, c.lanes);
  }
};

// what reaches output rows, in the form that the call wants
struct Inputs {
  Lists lists;
  Tiles tiles;
  Tables tables;

  template <class K> bool make(const Shape& s, const Word* words, I group, I r0, I r1) {
    if (s.parts == BY_TABLES) return tables.make(s, words, group, r0, r1);
    if (s.parts == BY_TILES) return tiles.make(s, Spikes{s, words}, r0, r1);
    return lists.make(s, words, group, r0, r1, (U)(s.stride * K::SIZE));
  }
};

// bytes of the tiles of 16 outputs, and of the weights of a block
template <class K> static inline I column(const Shape& s) {
  return Chunks(s).all * Split<K>::PARTS * BYTES_OF_TILE + Split<K>::UNITS;
}
template <class K> static inline I slab(const Shape& s) {
  if (s.parts == BY_TABLES) return (s.kh * s.in * s.stride * (I)sizeof(typename K::Sum)) << s.kw;
  if (s.parts == BY_TILES) return s.stride / 16 * column<K>(s);
  return (s.kh * s.kw * s.in + 1) * s.stride * K::SIZE;
}

// the tiles of pixels i ... i + m: where each begins, and which of the m pixels it begins with
struct Cell {
  const char* a[MOST_TILES];
  I from[MOST_TILES], count = 0;
  Cell(const Shape& s, const Tiles& tiles, I i, I m) {
    for (I j = 0; j < m; ++count) {
      // the last tile of a row overlaps the one before it; one of a short row spills into what comes after and is written over
      const I x = (i + j) % s.outWidth, left = tiles.rows ? lesser(m - j, s.outWidth - x) : m - j;
      from[count] = j - lesser(left < ROWS && tiles.rows ? lesser(ROWS - left, x) : 0, j);
      a[count] = tiles.of(s, i + from[count]);
      j += lesser(left, ROWS);
    }
  }
};

static inline void product(int32_t* to, const char* const* a, I tiles, I step, const I* at, const char* w, I n, I columns, I more) {
  const auto run = columns == 1 ? tiles == 1 ? product<1, 1> : product<2, 1> : tiles == 1 ? product<1, 2> : product<2, 2>;
  run(to, a, step, at, w, n, more);
}

// as `currents` of lists; sums has room for ROWS pixels more
template <class K, int V>
static inline void currents(typename K::Sum* sums, const typename K::Sum* bias, const char* w, const Shape& s, const Inputs& from, I i, I m) {
  if (s.parts == BY_TABLES) return currents<K, V>(sums, bias, w, s, from.tables, i, m);
  if (s.parts != BY_TILES) return currents<K, V>(sums, bias, w, s, from.lists, i, m);
  enum : I { PITCH = V * K::WIDTH, PARTS = Split<K>::PARTS };
  const Cell cell(s, from.tiles, i, m);
  const I n = Chunks(s).all, size = column<K>(s);
  alignas(64) int32_t found[PARTS * FOUR * NUMBERS];
  const I columns = lesser((I)PITCH / 16, (s.out + 15) / 16);  // of a single block; others are whole but for their last
  for (I c = 0; c < columns; c += 2) {
    const char* const b = w + c * size;
    const I across = lesser(2, columns - c);
    for (I k = 0; k < cell.count; k += 2) {
      const I had = lesser(2, cell.count - k);
      for (I p = 0; p < PARTS; ++p)
        product(found + p * FOUR * NUMBERS, cell.a + k, had, from.tiles.step, from.tiles.at.data, b + p * n * BYTES_OF_TILE, n, across, size);
      for (I r = 0; r < had; ++r)
        for (I x = 0; x < across; ++x)
          finish(sums + cell.from[k + r] * PITCH + (c + x) * 16, PITCH, found + (r * across + x) * NUMBERS, FOUR * NUMBERS, bias + (c + x) * 16,
                 (const float*)(b + (x + 1) * size - Split<K>::UNITS));
    }
  }
  for (I j = 0; j < m; ++j) for (I c = columns * 16; c < PITCH; ++c) sums[j * PITCH + c] = bias[c];
}
extern "C" int tiles(const I*) { return tiles_state(); }
