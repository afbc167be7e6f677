// From bits to lists of events, for gather.h: first those of each input row by pixel and channel, then those that reach one output pixel.
#ifdef __AVX512F__
#include <immintrin.h>
#endif
typedef uint64_t Word;
typedef U Entries __attribute__((vector_size(64), may_alias, aligned(4)));
enum : I { SLACK = 64 };  // entries that may be written, or looked ahead to, behind a list

// weights [groups, blocks, kh * kw * in + 1, stride], the last row zero. in, out: channels of a group; stride: outputs of a row
struct Shape {
  I threads, images, height, width, channels, outHeight, outWidth, groups, in, out, kh, kw, sh, sw, ph, pw, dh, dw, planes, sign, piece, stride;
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

// base + unit * c for every bit c of the word, ascending; returns the end
static inline U* listed(U* to, Word word, U base, U unit) {
#ifdef __AVX512F__
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), more = _mm512_set1_epi32((int)(16 * unit));
  __m512i value = _mm512_add_epi32(_mm512_mullo_epi32(lane, _mm512_set1_epi32((int)unit)), _mm512_set1_epi32((int)base));
  for (int k = 0; k < 4; ++k, value = _mm512_add_epi32(value, more)) {
    const __mmask16 here = (__mmask16)(word >> (16 * k));
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(here, value));
    to += __builtin_popcount(here);
  }
#else
  for (; word; word &= word - 1) *to++ = base + unit * (U)__builtin_ctzll(word);
#endif
  return to;
}

// copy n entries, each plus `shift`
static inline U* appended(U* to, const U* from, I n, U shift) {
  I i = 0;
  do *(Entries*)(to + i) = *(const Entries*)(from + i) + shift;
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
  Array<U> row, begin, list;
  Array<I> bounds, index;
  I pixels = 0;

  // the events of pixel i in sheet q
  const U* of(I q, I i) const { return list.data + bounds.data[q * pixels + i]; }
  I count(I q, I i) const { return bounds.data[q * pixels + i + 1] - bounds.data[q * pixels + i]; }

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
    if (!begin.fit(rows * width + 1) || !row.fit(most + SLACK) || !bounds.fit(pixels * s.sheets() + 1)) return false;
    if (!list.fit((most * over + (FILL - 1) * pixels) * s.sheets() + SLACK)) return false;
    U* to = list.data;
    bounds.data[0] = 0;
    for (I q = 0; q < s.sheets(); ++q) {
      const Sheet sheet = Sheet::of(s, words, q);
      U* end = row.data;
      for (I n = n0; n < n1; ++n)
        for (I j = index.data[n - n0]; j < index.data[n - n0 + 1]; ++j)
          end = by_pixel(end, begin.data + j * width, s, sheet, n * s.height + low[n - n0] + j - index.data[n - n0], group, unit);
      for (I r = r0; r < r1; ++r) to = by_output(to, s, bounds.data + q * pixels + (r - r0) * s.outWidth + 1, r, low[r / s.outHeight - n0], index.data[r / s.outHeight - n0], unit);
    }
    memset(to, 0, SLACK * sizeof(U));
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

  // an input row: entry unit * (x * in + c); those of pixel x are at[x] ... at[x + 1]
  U* by_pixel(U* to, U* at, const Shape& s, const Sheet& sheet, I r, I group, U unit) const {
    const I from = group * s.in, first = from / 64, last = (from + s.in - 1) / 64, words = s.words();
    for (I x = 0; x < s.width; ++x) {
      at[x] = (U)(to - row.data);
      for (I k = first; k <= last; ++k) {
        Word w = sheet.at((r * s.width + x) * words + k);
        if (s.groups > 1) {
          if (64 * k < from) w &= ~(Word)0 << (from - 64 * k);
          if (64 * k + 64 > from + s.in) w &= ~(Word)0 >> (64 * k + 64 - from - s.in);
        }
        if (w) to = listed(to, w, (U)((x * s.in + 64 * k - from) * unit), unit);
      }
    }
    at[s.width] = (U)(to - row.data);
    return to;
  }

  // an output row: entry unit * ((ky * kw + kx) * in + c)
  U* by_output(U* to, const Shape& s, I* bound, I r, I low, I index, U unit) const {
    const I y0 = r % s.outHeight * s.sh - s.ph, step = s.in * unit, pitch = s.width + 1;
    const I runs = s.dw == 1 ? 1 : s.kw, span = s.dw == 1 ? s.kw : 1;  // neighbours in a row are one run
    const I first = y0 < 0 ? (-y0 + s.dh - 1) / s.dh : 0, last = lesser(s.kh, (s.height - y0 + s.dh - 1) / s.dh);
    const U* const top = begin.data + (index + y0 + first * s.dh - low) * pitch;
    const Entries zero = Entries{} + (U)(s.kh * s.kw * step);
    for (I ox = 0; ox < s.outWidth; ++ox) {
      const U* at = top;
      for (I ky = first; ky < last; ++ky, at += s.dh * pitch)
        for (I k = 0, x = ox * s.sw - s.pw; k < runs; ++k, x += s.dw) {
          const U a = at[greater(0, lesser(s.width, x))], b = at[greater(0, lesser(s.width, x + span))];
          to = appended(to, row.data + a, b - a, (U)((ky * s.kw + k - x) * step));
        }
      *(Entries*)to = zero;
      to += -(to - list.data) & (FILL - 1);
      bound[ox] = to - list.data;
    }
    return to;
  }
};
