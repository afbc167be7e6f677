// The gradient of a convolution's weights from the bits of its input: an event at pixel q of channel c adds, for every tap, the row of the
// output's gradient that this tap takes q to. gather.h and rows.h come before this text.
#ifdef _OPENMP
#include <omp.h>
static inline I thread() { return omp_get_thread_num(); }
#else
static inline I thread() { return 0; }
#endif

// the events of 64 channels: `to` [classes, 64, room], `count` [classes, 64]; a value of v is v entries
static void listed(const Grad& g, const Word* bits, U* to, U* count, I s0, I strips, I word) {
  const I size = g.images * g.height * g.width * g.words(), bytes = g.block * (I)sizeof(float);
  for (I y = 0; y < g.sh; ++y)
    for (I x = 0; x < g.sw; ++x) {
      if (!read(y, g.kh, g.sh, g.ph) || !read(x, g.kw, g.sw, g.pw)) continue;
      U* at[64];
      U* const lists = to + (y * g.sw + x) * 64 * g.room();
      for (I c = 0; c < 64; ++c) at[c] = lists + c * g.room();
      for (I s = 0; s < strips; ++s) {
        const I n = (s0 + s) / g.strips(), j0 = (s0 + s) % g.strips() * g.strip, j1 = lesser(j0 + g.strip, g.gridHeight);
        for (I j = j0; j < j1 && j * g.sh + y < g.height; ++j) {
          const Word* const row = bits + ((n * g.height + j * g.sh + y) * g.width + x) * g.words() + word;
          U entry = (U)((s * g.rows() + j - j0) * g.pitch() * bytes);
          for (I i = 0; i * g.sw + x < g.width; ++i, entry += (U)bytes)
            for (I p = 0; p < g.planes; ++p)
              for (Word w = row[p * size + i * g.sw * g.words()]; w; w &= w - 1) {
                U*& end = at[__builtin_ctzll(w)];
                for (int k = 0; k < 1 << p; ++k) *end++ = entry;
              }
        }
      }
      for (I c = 0; c < 64; ++c) {
        while ((at[c] - lists - c * g.room()) % FILL) *at[c]++ = (U)(g.zeros() * bytes);
        count[(y * g.sw + x) * 64 + c] = (U)(at[c] - lists - c * g.room());
      }
    }
}

// to[0 .. V units) += the rows of the n entries
template <int V> static void collect(float* to, const char* w, const U* e, I n) {
  enum : int { N = V * PER };
  if (V <= 2) return Real::gather<V>(to, to, w, e, n);
  Float sum[N];
  for (int v = 0; v < N; ++v) sum[v] = ((const Float*)to)[v];
  for (const U* const end = e + n; e < end; e += FILL) Real::add<N>(sum, w, e);
  for (int v = 0; v < N; ++v) ((Float*)to)[v] = sum[v];
}
typedef void (*Collect)(float*, const char*, const U*, I);
static const Collect collects[] = {collect<1>, collect<2>, collect<3>, collect<4>, collect<5>, collect<6>, collect<7>, collect<8>};

// with: Grad, then the addresses of words, of the output's gradient [N, H', W', C'] and of the weights', and the strides of that. 1: no memory
extern "C" int weights(const I* with) {
  const Grad& g = *(const Grad*)with;
  const I* const a = with + sizeof(Grad) / sizeof(I);
  const Word* const bits = (const Word*)a[0];
  const float* const dy = (const float*)a[1];
  const I blocks = g.groups * g.blocks(), strips = g.images * g.strips(), taps = g.kh * g.kw, all = 64 * g.classes();
  const I parts = (g.in + CHANNELS - 1) / CHANNELS, tasks = blocks * parts, tile = CHANNELS * taps * g.block;
  const bool whole = strips <= g.piece;  // no sums to keep for the next piece
  float* const rows = (float*)aligned_alloc(64, blocks * g.pixels() * g.block * sizeof(float));
  float* const sums = (float*)aligned_alloc(64, (whole ? g.threads : tasks) * tile * sizeof(float));
  U* const lists = (U*)aligned_alloc(64, g.words() * all * g.room() * sizeof(U) / 64 * 64 + 64);
  U* const counts = (U*)malloc(g.words() * all * sizeof(U));
  Run* const run = (Run*)malloc(g.kh * g.sw * sizeof(Run));
  const bool ok = rows && sums && lists && counts && run;
  if (ok) {
    const I n = runs(g, run);
#pragma omp parallel num_threads((int)g.threads)
    for (I s0 = 0; s0 < strips; s0 += g.piece) {
      const I m = lesser(g.piece, strips - s0);
#pragma omp for schedule(static) nowait
      for (I b = 0; b < blocks; ++b) {
        float* const to = rows + b * g.pixels() * g.block;
        if (!s0) memset(to + g.zeros() * g.block, 0, (g.pixels() - g.zeros()) * g.block * sizeof(float));
        padded(g, dy, to, s0, m, b);
      }
#pragma omp for schedule(static)
      for (I k = 0; k < g.words(); ++k) listed(g, bits, lists + k * all * g.room(), counts + k * all, s0, m, k);
#pragma omp for schedule(static)
      for (I t = 0; t < tasks; ++t) {
        const I b = t / parts, c0 = t % parts * CHANNELS, channels = lesser(CHANNELS, g.in - c0);
        const char* const from = (const char*)(rows + b * g.pixels() * g.block);
        float *const mine = sums + (whole ? thread() : t) * tile, *to = mine;
        if (!s0) memset(mine, 0, tile * sizeof(float));
        for (I c = c0; c < c0 + channels; ++c) {
          const I channel = b / g.blocks() * g.in + c, first = channel / 64 * all + channel % 64;
          for (I r = 0; r < n; to += run[r++].taps * g.block) {
            const I list = first + run[r].kind * 64;
            if (counts[list]) collects[run[r].taps * g.block / Real::WIDTH - 1](to, from + run[r].shift, lists + list * g.room(), counts[list]);
          }
        }
        if (s0 + g.piece >= strips) turned<false>(g, run, n, mine, taps * g.block, (float*)a[2], a + 3, b, c0, channels);
      }
    }
  }
  free(rows);
  free(sums);
  free(lists);
  free(counts);
  free(run);
  return !ok;
}
