// From bits to lists of events, for gather.h: those of each input row by pixel and channel, those of the rows under a row of outputs by pixel,
// and then those that reach one output pixel, which are neighbours.
typedef uint64_t Word;
typedef U Entries __attribute__((vector_size(BYTES), may_alias, aligned(4)));
enum : I { LANES = BYTES / sizeof(U), SLACK = 64 };  // SLACK: entries that may be written, or looked ahead to, behind a list

// weights [groups, blocks, kw * kh * in + 1, stride], columns of taps first, the last row zero. in, out: channels of a group; piece: output rows that one thread
// works on at a time; parts: that a pixel's list is cut into, 1, kh (by rows of taps) or kh * kw (by taps), or another way; stride: outputs of a row of weights
enum : I { BY_TILES = 0, BY_TABLES = -1 };
struct Shape {
  I threads, images, height, width, channels, outHeight, outWidth, groups, in, out, kh, kw, sh, sw, ph, pw, dh, dw, planes, sign, parts, piece, stride;
  I words() const { return (channels + 63) / 64; }
  I sheets() const { return planes << sign; }
};

// the bits of a plane: all, or with `sign` those of one sign
struct Sheet {
  const Word *words, *sign;
  int negative, factor;  // what the sums so far are multiplied with

  // from the highest plane down, so that doubling the sums gives each its weight; negative bits add to the sum's negative
  static Sheet of(const Shape& s, const Word* words, I q) {
    const I plane = s.planes - 1 - (q >> s.sign), size = s.images * s.height * s.width * s.words();
    const int negative = s.sign && !(q & 1);
    return {words + plane * size, s.sign ? words + s.planes * size : nullptr, negative, !s.sign ? 2 : negative ? -2 : -1};
  }
  Word at(I i) const { return !sign ? words[i] : negative ? words[i] & sign[i] : words[i] & ~sign[i]; }
};

// base + unit * c for every bit c of the word, ascending; returns the end. unit: a power of two
static inline U* listed(U* to, Word word, U base, U unit) {
#if defined(__AVX512VBMI2__) || defined(__AVX512F__)
  const __m128i shift = _mm_cvtsi32_si128(__builtin_ctz(unit));
  const __m512i from = _mm512_set1_epi32((int)base);
#endif
#if defined(__AVX512VBMI2__)
  static const struct Lanes { uint8_t of[64]; Lanes() { for (int j = 0; j < 64; ++j) of[j] = (uint8_t)j; } } lanes;
  uint8_t found[64];
  const __m512i packed = _mm512_maskz_compress_epi8(word, _mm512_loadu_si512(lanes.of));
  const int n = __builtin_popcountll(word);
  _mm512_storeu_si512(to, _mm512_add_epi32(_mm512_sll_epi32(_mm512_cvtepu8_epi32(_mm512_castsi512_si128(packed)), shift), from));
  if (n > 16) {
    _mm512_storeu_si512(found, packed);
    for (int i = 16; i < n; i += 16)
      _mm512_storeu_si512(to + i, _mm512_add_epi32(_mm512_sll_epi32(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)(found + i))), shift), from));
  }
  to += n;
#elif defined(__AVX512F__)
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (int k = 0; k < 64; k += 16) {
    const __mmask16 here = (__mmask16)(word >> k);
    const __m512i value = _mm512_sll_epi32(_mm512_add_epi32(lane, _mm512_set1_epi32(k)), shift);
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(here, _mm512_add_epi32(value, from)));
    to += __builtin_popcount(here);
  }
#else
  const Word top = (Word)1 << 63;  // of a word that ran empty, whose entry nobody reads
  const int n = __builtin_popcountll(word), shift = __builtin_ctz(unit);
  for (int i = 0; i < n; i += 4)  // by fours, so that few branches depend on the number
    for (int j = i; j < i + 4; ++j, word &= word - 1) to[j] = base + ((U)__builtin_ctzll(word | top) << shift);
  to += n;
#endif
  return to;
}

// copy n entries, each plus `shift`
static inline U* appended(U* to, const U* from, I n, U shift) {
  I i = 0;
  do
    for (I j = i; j < i + 16; j += LANES) *(Entries*)(to + j) = *(const Entries*)(from + j) + shift;
  while ((i += 16) < n);
  return to + n;
}

// an array that grows, losing what it held, and stays for the next call
template <class T> struct Array {
  T* data = nullptr;
  I room = 0;
  bool fit(I n) {
    if (n <= room) return true;
    free(data);
    room = n + n / 4;
    data = (T*)aligned_alloc(64, (room * sizeof(T) + 63) / 64 * 64);
    if (!data) room = 0;
    return data;
  }
  ~Array() { free(data); }
};

// what reaches the pixels of output rows [r0, r1) (of all images, one after the other) in one group
struct Lists {
  Array<U> row, begin, column, ends, list;
  Array<I> bounds, index;
  I pixels = 0;

  // the events of pixel i in part k: parts of the first sheet, then those of the next
  const U* of(I k, I i) const { return list.data + bounds.data[k * pixels + i]; }
  I count(I k, I i) const { return bounds.data[k * pixels + i + 1] - bounds.data[k * pixels + i]; }

  // unit: bytes of a row of weights. False: no memory
  bool make(const Shape& s, const Word* words, I group, I r0, I r1, U unit) {
    const I n0 = r0 / s.outHeight, n1 = (r1 - 1) / s.outHeight + 1, width = s.width + 1;
    pixels = (r1 - r0) * s.outWidth;
    // input rows low ... of image n are rows index[n - n0] ... of the table
    if (!index.fit(2 * (n1 - n0) + 1)) return false;
    I* const low = index.data + (n1 - n0) + 1;
    index.data[0] = 0;
    for (I n = n0; n < n1; ++n) {
      const I a = n == n0 ? r0 % s.outHeight : 0, b = n == n1 - 1 ? (r1 - 1) % s.outHeight : s.outHeight - 1;
      low[n - n0] = lesser(s.height, greater(0, a * s.sh - s.ph));
      const I high = lesser(s.height, b * s.sh - s.ph + (s.kh - 1) * s.dh + 1);
      index.data[n - n0 + 1] = index.data[n - n0] + greater(0, high - low[n - n0]);
    }
    const I rows = index.data[n1 - n0], most = events(s, words, n0, n1, low);
    const I over = (s.dh > 1 ? s.kh : (s.kh - 1) / s.sh + 1) * (s.dw > 1 ? s.kw : (s.kw - 1) / s.sw + 1);  // outputs of an input, at most
    if (!begin.fit(rows * width + 1) || !row.fit(most + SLACK) || !column.fit(most + SLACK) || !ends.fit(width) || !bounds.fit(pixels * s.parts * s.sheets() + 1)) return false;
    if (!list.fit((most * over + (FILL - 1) * pixels * s.parts) * s.sheets() + SLACK)) return false;
    U* to = list.data;
    bounds.data[0] = 0;
    for (I q = 0; q < s.sheets(); ++q) {
      const Sheet sheet = Sheet::of(s, words, q);
      U* end = row.data;
      for (I n = n0; n < n1; ++n)
        for (I j = index.data[n - n0]; j < index.data[n - n0 + 1]; ++j)
          end = by_pixel(end, begin.data + j * width, s, sheet, n * s.height + low[n - n0] + j - index.data[n - n0], group, unit);
      for (I k = 0; k < s.parts; ++k) {
        I* bound = bounds.data + (q * s.parts + k) * pixels + 1;
        for (I r = r0; r < r1; ++r, bound += s.outWidth) {
          const I n = r / s.outHeight - n0;
          to = by_output(to, s, bound, r, k, low[n], index.data[n], unit);
        }
      }
    }
    return true;
  }

 private:
  // at most so many events in a sheet
  I events(const Shape& s, const Word* words, I n0, I n1, const I* low) const {
    const I per = s.width * s.words(), size = s.images * s.height * per;
    I most = 0;
    for (I p = 0; p < s.planes; ++p) {
      I found = 0;
      for (I n = n0; n < n1; ++n) {
        const Word* const w = words + p * size + (n * s.height + low[n - n0]) * per;
        const I m = (index.data[n - n0 + 1] - index.data[n - n0]) * per;
        for (I i = 0; i < m; ++i) found += __builtin_popcountll(w[i]);
      }
      most = greater(most, found);
    }
    return most;
  }

  // an input row: entry unit * (x * kh * in + c); those of pixel x are at[x] ... at[x + 1]
  U* by_pixel(U* to, U* at, const Shape& s, const Sheet sheet, I r, I group, U unit) const {
    const I width = s.width, words = s.words(), from = group * s.in, first = from / 64, last = (from + s.in - 1) / 64, after = last * 64 + 64 - from - s.in;
    const Word low = s.groups > 1 ? ~(Word)0 << (from - 64 * first) : ~(Word)0, high = s.groups > 1 ? ~(Word)0 >> after : ~(Word)0;
    const U step = (U)(s.kh * s.in * unit), *const begin = row.data;
    U base = (U)((64 * first - from) * (I)unit);
    for (I x = 0, i = r * width * words; x < width; ++x, i += words, base += step) {
      at[x] = (U)(to - begin);
      for (I k = first; k <= last; ++k) {
        const Word w = sheet.at(i + k) & (k == first ? low : ~(Word)0) & (k == last ? high : ~(Word)0);
        if (w) to = listed(to, w, base + (U)(64 * (k - first)) * unit, unit);
      }
    }
    at[width] = (U)(to - begin);
    return to;
  }

  // rows [at, at + n * pitch) side by side: those of pixel x in all of them are ends[x] ... ends[x + 1]; row k is `line` beyond row k - 1
  void by_column(const U* at, I n, I pitch, I width, U line, U above) {
    const U *const from = row.data, *const end = at + n * pitch;
    U *to = column.data, *const of = ends.data;
    for (I x = 0; x < width; ++x) {
      of[x] = (U)(to - column.data);
      U shift = above;
      for (const U* a = at + x; a < end; a += pitch, shift += line) to = appended(to, from + a[0], a[1] - a[0], shift);
    }
    of[width] = (U)(to - column.data);
  }

  // a part of an output row: entry unit * ((kx * kh + ky) * in + c)
  U* by_output(U* to, const Shape& s, I* bound, I r, I part, I low, I index, U unit) {
    const I width = s.width, outputs = s.outWidth, sw = s.sw, dw = s.dw, y0 = r % s.outHeight * s.sh - s.ph, pitch = width + 1;
    const bool taps = s.parts == s.kh * s.kw, rows = s.parts == s.kh || taps;
    const I kx = taps ? part % s.kw : 0, ky0 = rows ? (taps ? part / s.kw : part) : 0;
    const I runs = taps || dw == 1 ? 1 : s.kw, span = taps || dw > 1 ? 1 : s.kw;  // neighbours in a row are one run
    const I first = greater(ky0, y0 < 0 ? (-y0 + s.dh - 1) / s.dh : 0);
    const I last = lesser(rows ? ky0 + 1 : s.kh, (s.height - y0 + s.dh - 1) / s.dh);
    const U line = (U)(s.in * unit), step = (U)s.kh * line, above = (U)first * line, *from = row.data;
    const U* at = begin.data + (index + y0 + first * s.dh - low) * pitch;
    if (last - first > 1) {
      by_column(at, last - first, s.dh * pitch, width, line, above);
      from = column.data;
      at = ends.data;
    }
    const U put = last - first > 1 ? 0 : above, *const begun = list.data;
    const Entries zero = Entries{} + (U)s.kw * step;
    for (I ox = 0, x0 = kx * dw - s.pw; ox < outputs; ++ox, x0 += sw) {
      for (I k = kx, x = x0; k < kx + runs && first < last; ++k, x += dw) {
        const U a = at[greater(0, lesser(width, x))], b = at[greater(0, lesser(width, x + span))];
        to = appended(to, from + a, b - a, put + (U)(k - x) * step);
      }
      *(Entries*)to = zero;
      to += -(to - begun) & (FILL - 1);
      bound[ox] = to - begun;
    }
    return to;
  }
};

enum : I { TILE = 64 };  // pixels whose sums stay in L1 while the parts of their lists are walked

// For one block of outputs: sums [m, V * WIDTH] = bias + the currents of pixels i ... i + m
template <class K, int V>
static inline void currents(typename K::Sum* sums, const typename K::Sum* bias, const char* w, const Shape& s, const Lists& lists, I i, I m) {
  typedef typename K::Sum S;
  static const S none[K::BLOCK] = {};
  enum : I { PITCH = V * K::WIDTH };
  for (I q = 0, part = 0; q < s.sheets(); ++q) {
    const S factor = (S)Sheet::of(s, nullptr, q).factor;
    if (q) for (I j = 0; j < m * PITCH; ++j) sums[j] *= factor;
    for (I k = 0; k < s.parts; ++k, ++part)
      for (I j = 0; j < m; ++j) {
        S* const to = sums + j * PITCH;
        K::template gather<V>(to, part ? to : s.sheets() == 1 ? bias : none, w, lists.of(part, i + j), lists.count(part, i + j));
      }
  }
  if (s.sheets() > 1)
    for (I j = 0; j < m; ++j) for (I c = 0; c < PITCH; ++c) sums[j * PITCH + c] += bias[c];
}
