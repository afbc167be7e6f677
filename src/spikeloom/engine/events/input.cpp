// The gradient of a convolution's input, where a mask says that it is wanted: for such an element the products of all taps' weights with the
// rows of the output's gradient that they come from; 0 elsewhere. gather.h and rows.h come before this text.
#ifdef __clang__
#define CONTRACT _Pragma("clang fp contract(fast)")
#else
#pragma GCC optimize("fp-contract=fast")  // no spike hangs on these sums
#define CONTRACT
#endif
typedef float Eight __attribute__((vector_size(32)));
static inline Eight neighbours(Eight a, Eight b) {
  return __builtin_shufflevector(a, b, 0, 2, 8, 10, 4, 6, 12, 14) + __builtin_shufflevector(a, b, 1, 3, 9, 11, 5, 7, 13, 15);
}
#if defined(__AVX512BW__)
static inline Eight folded(Float f) {
  return __builtin_shufflevector(f, f, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(f, f, 8, 9, 10, 11, 12, 13, 14, 15);
}
#elif defined(__AVX2__)
static inline Eight folded(Float f) { return (Eight)f; }
#else
static inline Eight folded(Float f) { return (Eight){f[0], f[1], f[2], f[3], 0, 0, 0, 0}; }
#endif

// a run of taps: bytes from an element's row to the first it reads and behind the last, bytes to its weights
struct Span { I from, to, weights; };
// wanted elements of one class: for each channel `count` cells of `room`; of a cell its row's offset in bytes and its place in dx
struct Wanted { U *cells, *row, *place, *count; Span* spans; I runs; };

// G cells of a channel, of which the first `live` are kept
template <int G> static inline void products(float* dx, const char* rows, const char* weights, const Wanted& with, const U* cell, I live) {
  CONTRACT
  Float sum[G] = {};
  const char* from[G];
#pragma GCC unroll 8
  for (int k = 0; k < G; ++k) from[k] = rows + with.row[cell[k]];
  for (const Span* s = with.spans; s < with.spans + with.runs; ++s) {
    const char* w = weights + s->weights;
    for (I at = s->from; at < s->to; at += sizeof(Float), w += sizeof(Float)) {
      const Float weight = *(const Float*)w;
#pragma GCC unroll 8
      for (int k = 0; k < G; ++k) sum[k] += weight * *(const Float*)(from[k] + at);
    }
  }
  const Eight low = neighbours(neighbours(folded(sum[0]), folded(sum[1])), neighbours(folded(sum[2]), folded(sum[3])));
  Eight high = {};
  if constexpr (G == 8) high = neighbours(neighbours(folded(sum[4]), folded(sum[5])), neighbours(folded(sum[6]), folded(sum[7])));
  const Eight all = __builtin_shufflevector(low, high, 0, 1, 2, 3, 8, 9, 10, 11) + __builtin_shufflevector(low, high, 4, 5, 6, 7, 12, 13, 14, 15);
  for (int k = 0; k < live; ++k) dx[with.place[cell[k]]] += all[k];
}

// the wanted elements of class (ry, rx) in the strips from s0 on; places count from `base`; lists end with cells that read zeros
static void listed(const Grad& g, const Word* bits, const Wanted& to, I ry, I rx, I s0, I strips, I base, I room) {
  const I words = g.words();
  U cell = 0;
  U* end[64];
  for (I k = 0; k < words; ++k) {
    for (I c = 0; c < 64; ++c) end[c] = to.cells + (k * 64 + c) * room;
    cell = 0;
    for (I s = 0; s < strips; ++s) {
      const I n = (s0 + s) / g.strips(), j0 = (s0 + s) % g.strips() * g.strip, j1 = lesser(j0 + g.strip, g.gridHeight);
      for (I j = j0; j < j1 && j * g.sh + ry < g.height; ++j)
        for (I i = 0; i * g.sw + rx < g.width; ++i, ++cell) {
          const I pixel = (n * g.height + j * g.sh + ry) * g.width + i * g.sw + rx;
          to.row[cell] = (U)(((s * g.rows() + j - j0) * g.pitch() + i) * g.block * (I)sizeof(float));
          to.place[cell] = (U)((pixel - base) * g.channels);
          for (Word w = bits[pixel * words + k]; w; w &= w - 1) *end[__builtin_ctzll(w)]++ = cell;
        }
    }
    for (I c = 0; c < 64; ++c) {
      to.count[k * 64 + c] = (U)(end[c] - to.cells - (k * 64 + c) * room);
      for (int f = 0; f < 8; ++f) *end[c]++ = cell;
    }
  }
  to.row[cell] = (U)(g.zeros() * g.block * (I)sizeof(float));
}

// the gradient of the input pixels of the strips from s0 on; rows: room for a block of them
static void piece(const Grad& g, const Word* bits, const float* dy, const float* weights, float* dx, float* rows, Wanted* kinds, I s0, I room) {
  const I strips = lesser(g.piece, g.images * g.strips() - s0), last = s0 + strips - 1, slab = g.kh * g.kw * g.block;
  const I base = (s0 / g.strips() * g.height + s0 % g.strips() * g.strip * g.sh) * g.width;
  const I end = (last / g.strips() * g.height + lesser(g.height, (last % g.strips() + 1) * g.strip * g.sh)) * g.width;
  memset(dx + base * g.channels, 0, (end - base) * g.channels * sizeof(float));
  for (I kind = 0; kind < g.classes(); ++kind)
    if (kinds[kind].runs) listed(g, bits, kinds[kind], kind / g.sw, kind % g.sw, s0, strips, base, room);
  for (I b = 0; b < g.blocks(); ++b) {
    padded(g, dy, rows, s0, strips, b);
    for (const Wanted* kind = kinds; kind < kinds + g.classes(); ++kind)
      for (I c = 0; kind->runs && c < g.channels; ++c) {
        const char* const w = (const char*)(weights + (c * g.blocks() + b) * slab);
        const U* cell = kind->cells + c * room;
        I left = kind->count[c];
        for (; left > 4; left -= 8, cell += 8) products<8>(dx + base * g.channels + c, (const char*)rows, w, *kind, cell, lesser(8, left));
        if (left > 0) products<4>(dx + base * g.channels + c, (const char*)rows, w, *kind, cell, left);
      }
  }
}

// with: Grad, then the addresses of the mask's words, of the output's gradient [N, H', W', C'], of the weights and of dx [N, H, W, C], and the
// strides of the weights. 1: no memory
extern "C" int inputs(const I* with) {
  const Grad& g = *(const Grad*)with;
  const I* const a = with + sizeof(Grad) / sizeof(I);
  const I strips = g.images * g.strips(), slab = g.kh * g.kw * g.block, pitch = g.blocks() * slab, parts = (g.channels + CHANNELS - 1) / CHANNELS;
  const I cells = g.piece * g.strip * g.gridWidth, room = cells + 8, lists = g.words() * 64;
  float* const weights = (float*)aligned_alloc(64, g.channels * pitch * sizeof(float));
  Run* const run = (Run*)malloc(g.kh * g.sw * sizeof(Run));
  bool ok = weights && run;
  if (ok) {
    const I n = runs(g, run);
#pragma omp parallel num_threads((int)g.threads)
    {
      float* const rows = (float*)aligned_alloc(64, g.pixels() * g.block * sizeof(float));
      U* const memory = (U*)malloc(g.classes() * (lists * (room + 1) + 2 * (cells + 1)) * sizeof(U));
      Wanted* const kinds = (Wanted*)malloc(g.classes() * sizeof(Wanted));
      Span* const spans = (Span*)malloc(n * sizeof(Span));
      const bool mine = rows && memory && kinds && spans;
      if (!mine) {
#pragma omp atomic write
        ok = false;
      }
      Span* span = spans;
      for (I kind = 0; mine && kind < g.classes(); ++kind) {
        U* const at = memory + kind * (lists * (room + 1) + 2 * (cells + 1));
        kinds[kind] = {at, at + lists * room, at + lists * room + cells + 1, at + lists * room + 2 * (cells + 1), span, 0};
        I past = 0;
        for (I r = 0; r < n; past += run[r++].taps * g.block * (I)sizeof(float))
          if (run[r].kind == kind) *span++ = {run[r].shift, run[r].shift + run[r].taps * g.block * (I)sizeof(float), past};
        kinds[kind].runs = span - kinds[kind].spans;
      }
      if (mine) memset(rows + g.zeros() * g.block, 0, (g.pixels() - g.zeros()) * g.block * sizeof(float));
#pragma omp for schedule(static)
      for (I t = 0; t < g.blocks() * parts; ++t) {
        const I b = t / parts, c0 = t % parts * CHANNELS;
        turned<true>(g, run, n, weights + c0 * pitch + b * slab, pitch, (float*)a[2], a + 4, b, c0, lesser(CHANNELS, g.channels - c0));
      }
#pragma omp for schedule(dynamic)
      for (I s0 = 0; s0 < strips; s0 += g.piece)
        if (mine) piece(g, (const Word*)a[0], (const float*)a[1], weights, (float*)a[3], rows, kinds, s0, room);
      free(rows);
      free(memory);
      free(kinds);
      free(spans);
    }
  }
  free(weights);
  free(run);
  return !ok;
}
