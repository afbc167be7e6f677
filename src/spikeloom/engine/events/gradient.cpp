// The gradient of a convolution's weights from the bits of its input: an event at pixel q of channel c adds, for every tap, the row of the
// output's gradient that this tap takes q to. gather.h comes before this text.
#include <alloca.h>
#ifdef _OPENMP
#include <omp.h>
static inline I thread() { return omp_get_thread_num(); }
#else
static inline I thread() { return 0; }
#endif
typedef uint64_t Word;

// Output rows lie padded with zeros, `width` pixels of `block` floats each, so that every tap of an event is inside: an input pixel
// (y, x) = (sh * j + ry, sw * i + rx) is entry (j, i) of its class (ry, rx), and a tap is one shift for all pixels of a class.
// grid*: j and i end there; low*, high*: smallest and largest shift; strip: rows of the grid that lie together; piece: strips worked on at
// a time; in, out: channels of a group
struct Grad {
  I threads, images, height, width, channels, outHeight, outWidth, groups, in, out, kh, kw, sh, sw, ph, pw, planes;
  I gridHeight, gridWidth, lowY, highY, lowX, highX, strip, piece, block;
  I words() const { return (channels + 63) / 64; }
  I blocks() const { return (out + block - 1) / block; }
  I classes() const { return sh * sw; }
  I pitch() const { return gridWidth + highX - lowX; }                 // pixels of a padded row
  I rows() const { return strip + highY - lowY; }                      // padded rows of a strip
  I strips() const { return (gridHeight + strip - 1) / strip; }        // of an image
  I room() const { return piece * strip * gridWidth * ((1 << planes) - 1) + 2 * FILL; }  // entries of a channel and class
  I zeros() const { return piece * rows() * pitch(); }                 // pixel from which on everything is 0
  I pixels() const { return zeros() + (highY - lowY) * pitch() + highX - lowX + 1; }
};
static inline I floored(I a, I b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }
// whether a tap reads class r of an axis
static inline bool read(I r, I taps, I step, I pad) {
  for (I k = 0; k < taps; ++k) if (k - pad - floored(k - pad, step) * step == r) return true;
  return false;
}

static inline void copied(float* to, const float* from, I n, I block) {
  if (n < block) { memcpy(to, from, n * sizeof(float)); memset(to + n, 0, (block - n) * sizeof(float)); return; }
  for (I c = 0; c < n; c += Real::WIDTH)
    for (int v = 0; v < PER; ++v) ((Float*)(to + c))[v] = ((const Float*)(from + c))[v];
}

// one block of outputs of the strips from s0 on, padded
static void padded(const Grad& g, const float* dy, float* to, I s0, I strips, I b) {
  const I group = b / g.blocks(), first = b % g.blocks() * g.block, width = lesser(g.block, g.out - first), all = g.groups * g.out;
  for (I s = 0; s < strips; ++s) {
    const I n = (s0 + s) / g.strips(), j0 = (s0 + s) % g.strips() * g.strip;
    for (I r = 0; r < g.rows(); ++r) {
      float* const row = to + (s * g.rows() + r) * g.pitch() * g.block;
      const I oy = j0 + r + g.lowY;
      if (oy < 0 || oy >= g.outHeight) { memset(row, 0, g.pitch() * g.block * sizeof(float)); continue; }
      const I left = lesser(g.pitch(), greater(0, -g.lowX)), right = greater(left, lesser(g.pitch(), g.outWidth - g.lowX));
      const float* from = dy + ((n * g.outHeight + oy) * g.outWidth + left + g.lowX) * all + group * g.out + first;
      memset(row, 0, left * g.block * sizeof(float));
      for (float* pixel = row + left * g.block; pixel < row + right * g.block; pixel += g.block, from += all) copied(pixel, from, width, g.block);
      memset(row + right * g.block, 0, (g.pitch() - right) * g.block * sizeof(float));
    }
  }
}

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

// the taps of a row that go from one class to neighbouring pixels; they follow each other in the sums, the last tap first
struct Run { I kind, ky, kx, taps, shift; };
static I runs(const Grad& g, Run* to) {
  I n = 0;
  for (I ky = 0; ky < g.kh; ++ky)
    for (I rx = 0; rx < g.sw; ++rx) {
      const I ry = ky - g.ph - floored(ky - g.ph, g.sh) * g.sh;
      I last = -1, taps = 0;
      for (I kx = g.kw - 1; kx >= 0; --kx)
        if (floored(rx + g.pw - kx, g.sw) * g.sw == rx + g.pw - kx) { if (last < 0) last = kx; ++taps; }
      if (!taps) continue;
      const I y = floored(ry + g.ph - ky, g.sh) - g.lowY, x = floored(rx + g.pw - last, g.sw) - g.lowX;
      to[n++] = {ry * g.sw + rx, ky, last, taps, (y * g.pitch() + x) * g.block * (I)sizeof(float)};
    }
  return n;
}

enum : I { CHANNELS = 16 };  // of a task

// sums [channels, taps by runs, block] into the weights' gradient, whose strides of outputs, inputs, rows and taps are `step`
static void stored(const Grad& g, const Run* run, I n, const float* sums, float* out, const I* step, I b, I c0, I channels) {
  const I first = b % g.blocks() * g.block, width = lesser(g.block, g.out - first), taps = g.kh * g.kw;
  float* const to = out + (b / g.blocks() * g.out + first) * step[0] + c0 * step[1];
  I* const place = (I*)alloca(taps * sizeof(I));
  for (I r = 0, j = 0; r < n; ++r)
    for (I t = 0; t < run[r].taps; ++t) place[j++] = run[r].ky * step[2] + (run[r].kx - t * g.sw) * step[3];
  const bool last = step[1] == 1;  // channels are neighbours
  for (I o = 0; o < width; ++o)
    for (I i = 0; i < (last ? taps : channels); ++i)
      for (I k = 0; k < (last ? channels : taps); ++k) {
        const I c = last ? k : i, j = last ? i : k;
        to[o * step[0] + c * step[1] + place[j]] = sums[(c * taps + j) * g.block + o];
      }
}

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
        if (s0 + g.piece >= strips) stored(g, run, n, mine, (float*)a[2], a + 3, b, c0, channels);
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
