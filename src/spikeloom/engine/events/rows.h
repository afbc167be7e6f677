// What the two gradients of a convolution share: rows of the output's gradient padded with zeros, and the runs of taps that read them.
// gather.h comes before this text.
#include <alloca.h>
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

enum : I { CHANNELS = 16 };  // worked on at a time

// values [channels, taps by runs, block], `pitch` floats from one channel to the next: into (or, LAY, from) a weight whose strides of
// outputs, inputs, rows and taps are `step`
template <bool LAY> static void turned(const Grad& g, const Run* run, I n, float* values, I pitch, float* weight, const I* step, I b, I c0, I channels) {
  const I first = b % g.blocks() * g.block, width = lesser(g.block, g.out - first), taps = g.kh * g.kw;
  float* const to = weight + (b / g.blocks() * g.out + first) * step[0] + c0 * step[1];
  I* const place = (I*)alloca(taps * sizeof(I));
  for (I r = 0, j = 0; r < n; ++r)
    for (I t = 0; t < run[r].taps; ++t) place[j++] = run[r].ky * step[2] + (run[r].kx - t * g.sw) * step[3];
  const bool last = step[1] == 1;  // channels are neighbours
  for (I o = 0; o < width; ++o)
    for (I i = 0; i < (last ? taps : channels); ++i)
      for (I k = 0; k < (last ? channels : taps); ++k) {
        const I c = last ? k : i, j = last ? i : k;
        float &ours = values[c * pitch + j * g.block + o], &theirs = to[o * step[0] + c * step[1] + place[j]];
        (LAY ? ours : theirs) = LAY ? theirs : ours;
      }
  for (I c = 0; LAY && width < g.block && c < channels; ++c)
    for (I j = 0; j < taps; ++j) memset(values + c * pitch + j * g.block + width, 0, (g.block - width) * sizeof(float));
}
