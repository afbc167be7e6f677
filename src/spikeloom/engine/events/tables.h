// Sums looked up. Where few channels come in, the bits of a row of taps are a number, and a table has the sum of their weights under it:
// one row of it for each row of taps and channel of an output pixel, whatever the density. gather.h and lists.h come before this text.
// Tables for each group and block of outputs [kh, in, 2^kw, stride], of the type of the sums; bit kx of a number belongs to tap kx. No dilation.

// the bits of the input rows that reach output rows [r0, r1) in one group, padded, a string for each sheet and channel
struct Tables {
  Array<uint8_t> data;
  Array<I> first;  // of each output row the first of its kh input rows
  I pitch = 0, row = 0;  // bytes of a string, and of an input row

  bool make(const Shape& s, const Word* words, I group, I r0, I r1) {
    pitch = (s.width + 2 * s.pw + s.kw) / 8 + (I)sizeof(U);  // read as so many bytes
    row = s.sheets() * s.in * pitch;
    if (!data.fit((r1 - r0) * s.kh * row) || !first.fit(r1 - r0)) return false;
    I used = 0, y = 0, image = -1;  // rows there are, and the input row that comes next
    for (I r = r0; r < r1; ++r) {
      const I n = r / s.outHeight, top = r % s.outHeight * s.sh - s.ph;
      if (n != image || y < top) { image = n; y = top; }
      first.data[r - r0] = used - (y - top);
      for (; y < top + s.kh; ++y, ++used) {
        uint8_t* const to = data.data + used * row;
        memset(to, 0, row);
        if (y >= 0 && y < s.height) for (I q = 0; q < s.sheets(); ++q) put(to + q * s.in * pitch, s, Sheet::of(s, words, q), n * s.height + y, group * s.in);
      }
    }
    return true;
  }

 private:
  // an input row, its channels from `from` on
  void put(uint8_t* to, const Shape& s, const Sheet& sheet, I r, I from) const {
    for (I x = 0, at = s.pw; x < s.width; ++x, ++at)
      for (I c = 0; c < s.in;) {
        const I k = (from + c) / 64, shift = (from + c) % 64, end = lesser(s.in, c + 64 - shift);
        Word w = sheet.at((r * s.width + x) * s.words() + k) >> shift;
        if (end - c < 64) w &= ((Word)1 << (end - c)) - 1;
        for (; w; w &= w - 1) to[(c + __builtin_ctzll(w)) * pitch + at / 8] |= (uint8_t)(1 << at % 8);
        c = end;
      }
  }
};

// as `currents` of lists
template <class K, int V>
static inline void currents(typename K::Sum* sums, const typename K::Sum* bias, const char* w, const Shape& s, const Tables& from, I i, I m) {
  typedef typename K::Sum S;
  typedef S Vector __attribute__((vector_size(BYTES), may_alias, aligned(4)));
  enum : int { PITCH = V * K::WIDTH, LANES = BYTES / sizeof(S), ALL = PITCH / LANES, N = ALL < 8 ? ALL : 8 };  // registers
  const I step = (s.stride * (I)sizeof(S)) << s.kw, bytes = s.stride * (I)sizeof(S);
  const U mask = (1u << s.kw) - 1;
  for (I j = 0, r = i / s.outWidth, x = i % s.outWidth; j < m; ++j) {
    const uint8_t* const row = from.data.data + from.first.data[r] * from.row;
    const I at = x * s.sw;
    for (int v = 0; v < ALL; v += N) {
      Vector sum[N] = {};
      for (I q = 0; q < s.sheets(); ++q) {
        if (q) for (int k = 0; k < N; ++k) sum[k] *= (S)Sheet::of(s, nullptr, q).factor;
        const char* table = w + v * BYTES;
        for (I ky = 0; ky < s.kh; ++ky) {
          const uint8_t* string = row + ky * from.row + q * s.in * from.pitch + at / 8;
          for (I c = 0; c < s.in; ++c, string += from.pitch, table += step) {
            U bits;
            memcpy(&bits, string, sizeof(bits));
            const Vector* const found = (const Vector*)(table + (bits >> at % 8 & mask) * bytes);
            for (int k = 0; k < N; ++k) sum[k] += found[k];
          }
        }
      }
      for (int k = 0; k < N; ++k) ((Vector*)(sums + j * PITCH))[v + k] = sum[k] + ((const Vector*)bias)[v + k];
    }
    if (++x == s.outWidth) { x = 0; ++r; }
  }
}
