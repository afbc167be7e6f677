// Convolution of bits, and a linear layer as one of 1 x 1 pixels: gather.h, lists.h, tables.h and tiles.h come before this text.

template <class K, int V> static void block(typename K::Sum* out, const typename K::Sum* bias, const char* w, const Shape& s, const Inputs& inputs, I pixels, I width) {
  const I pitch = s.groups * s.out;
  typename K::Sum sums[(TILE + ROWS) * V * K::WIDTH] __attribute__((aligned(UNIT)));
  const bool one = width == V * K::WIDTH && s.parts * s.sheets() == 1;
  if (one) {
    const Lists& lists = inputs.lists;
    for (I i = 0; i < pixels; ++i) K::template gather<V>(out + i * pitch, bias, w, lists.of(0, i), lists.count(0, i));
    return;
  }
  const I cell = s.outWidth < TILE ? TILE / s.outWidth * s.outWidth : TILE;  // whole rows where these are short
  for (I i = 0; i < pixels; i += cell) {
    const I m = lesser(cell, pixels - i);
    currents<K, V>(sums, bias, w, s, inputs, i, m);
    for (I j = 0; j < m; ++j) memcpy(out + (i + j) * pitch, sums + j * V * K::WIDTH, width * sizeof(*out));
  }
}

template <class K> static int conv(const Shape& s, const Word* words, const char* w, const typename K::Sum* bias, typename K::Sum* out) {
  const I rows = s.images * s.outHeight, pieces = (rows + s.piece - 1) / s.piece, blocks = (s.out + s.stride - 1) / s.stride;
  const I bytes = slab<K>(s);
  int failed = 0;
#pragma omp parallel for num_threads((int)s.threads) schedule(dynamic, 1) reduction(| : failed)
  for (I p = 0; p < pieces; ++p) {
    static thread_local Inputs inputs;
    const Claim claim(s.parts == BY_TILES);
    const I r0 = p * s.piece, r1 = lesser(rows, r0 + s.piece);
    for (I g = 0; g < s.groups && !failed; ++g) {
      if (!inputs.make<K>(s, words, g, r0, r1)) { failed = 1; break; }
      for (I b = 0; b < blocks; ++b) {
        const I width = lesser(s.stride, s.out - b * s.stride);
        const auto run = width > K::WIDTH ? block<K, 2> : block<K, 1>;
        run(out + r0 * s.outWidth * s.groups * s.out + g * s.out + b * s.stride, bias + (g * blocks + b) * s.stride, w + (g * blocks + b) * bytes, s, inputs, (r1 - r0) * s.outWidth, width);
      }
    }
  }
  return failed;
}

// with: Shape, then the addresses of words, weights, bias [groups, blocks, stride] and out
template <class K> static int call(const I* with) {
  const I* const a = with + sizeof(Shape) / sizeof(I);
  typedef typename K::Sum S;
  return conv<K>(*(const Shape*)with, (const Word*)a[0], (const char*)a[1], (const S*)a[2], (S*)a[3]);
}
extern "C" int real(const I* with) { return call<Real>(with); }
extern "C" int whole(const I* with) { return call<Whole>(with); }
