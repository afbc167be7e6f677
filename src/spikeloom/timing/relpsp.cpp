// ReL-PSP neurons, event by event. The head of scan.cpp comes before this text.
// Outputs are dealt with in panels of `width` lanes: the weights of a panel, [taps, width], stay in the cache while images pass.
// A potential is a sum of straight lines: U = V - threshold moves by rate * dt between events and never cancels as prefix sums would.
#include <algorithm>
#include <omp.h>
#ifdef __AVX512F__
enum : I { REGISTER = 64 };
#else
enum : I { REGISTER = 32 };
#endif
typedef S Lane __attribute__((vector_size(REGISTER), may_alias));
typedef uint64_t Bits __attribute__((vector_size(REGISTER)));
enum : I { LANES = REGISTER / (I)sizeof(S), WIDE = 128, PANELS = 8, CHUNKS = 16 };
static const S NEVER = (S)__builtin_inf();
struct Event { S t; int32_t i; };

// by time, ties by index, as they come: from the lowest digit of the keys to the highest; spare has room for n
static void order(Event* event, Event* spare, I n) {
  enum : I { DIGIT = 11, SIZE = 1 << DIGIT, WIDTH = 8 * (I)sizeof(S) };
  const auto key = [](S t) {  // grows with t
    uint64_t u = 0;
    memcpy(&u, &t, sizeof t);
    const uint64_t sign = (uint64_t)1 << (WIDTH - 1), all = sign | (sign - 1);
    return u & sign ? ~u & all : u | sign;
  };
  if (n < 128) {
    std::stable_sort(event, event + n, [](const Event& a, const Event& b) { return a.t < b.t; });
    return;
  }
  Event *from = event, *to = spare;
  for (I low = 0; low < WIDTH; low += DIGIT) {
    const auto digit = [&](const Event& e) { return key(e.t) >> low & (SIZE - 1); };
    I place[SIZE] = {0};
    for (I k = 0; k < n; ++k) ++place[digit(from[k])];
    if (place[digit(from[0])] == n) continue;
    for (I d = 0, sum = 0; d < SIZE; ++d) { const I count = place[d]; place[d] = sum; sum += count; }
    for (I k = 0; k < n; ++k) to[place[digit(from[k])]++] = from[k];
    std::swap(from, to);
  }
  if (from != event) memcpy(event, from, n * sizeof(Event));
}

struct Wiring { I inputs, places, outs, taps; const int32_t *start, *place, *tap; };

static inline I divided(I a, I b) { return (a + b - 1) / b; }
// no more than PANELS panels, so that the parts of the times' gradient stay few
static inline I width_of(I outs) {
  const I panels = lesser(PANELS, divided(outs, WIDE));
  return divided(divided(outs, panels), LANES) * LANES;
}

static const uint64_t SIGNS = sizeof(S) == 8 ? 0x8000000000000000u : 0x8000000080000000u;
static inline bool negative(Bits u) {  // the sign of every lane
  uint64_t all = SIGNS;
  for (I k = 0; k < REGISTER / 8; ++k) all &= u[k];
  return all == SIGNS;
}

static S* aligned(I count) { return (S*)aligned_alloc(64, divided((count + 1) * sizeof(S), 64) * 64); }

// panels [panel, taps, width] of weight [outs, taps]; lanes beyond the outputs weigh 0
static void lay(S* panels, const S* weight, const Wiring& z, I width, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (I j0 = 0; j0 < divided(z.outs, width) * width; j0 += LANES) {
    S* const to = panels + j0 / width * z.taps * width + j0 % width;
    for (I k = 0; k < z.taps; ++k)
      for (I l = 0; l < LANES; ++l) to[k * width + l] = j0 + l < z.outs ? weight[(j0 + l) * z.taps + k] : (S)0;
  }
}

// t within (low, high], against rounding
static inline S later(S t, S low, S high) {
  if (!(t < high)) return high;
  return t > low ? t : sizeof(S) == 8 ? (S)__builtin_nextafter(low, NEVER) : (S)__builtin_nextafterf(low, NEVER);
}

// the lanes of one place that are at threshold or above at t; returns how many
static inline I spike(S t, S before, Lane* u, const Lane* rate, I n, S* out, S* slope) {
  I count = 0;
  for (I v = 0; v < n; ++v) if (!negative((Bits)u[v])) for (I l = 0; l < LANES; ++l) if (u[v][l] >= 0) {
    out[v * LANES + l] = later(t - u[v][l] / rate[v][l], before, t);
    slope[v * LANES + l] = rate[v][l];
    u[v][l] = -NEVER;
    ++count;
  }
  return count;
}

// one image, one panel. out, slope [places, outs] from the panel's first output on; u, rate [places, width], last, left [places]
template <I FIXED>
static void fire(const Wiring& z, const Event* event, I events, const S* panel, I width, I lanes, S threshold, S until, S* out, S* slope,
                 S* u, S* rate, S* last, int32_t* left) {
  const I n = FIXED ? FIXED : width / LANES;
  I open = z.places;
  for (I k = 0; k < z.places * width; ++k) u[k] = -threshold, rate[k] = 0;
  for (I p = 0; p < z.places; ++p) last[p] = 0, left[p] = (int32_t)lanes;
  for (I k = 0; k < events && open; ++k) {
    const S t = event[k].t;
    for (I e = z.start[event[k].i]; e < z.start[event[k].i + 1]; ++e) {
      const I p = z.place[e];
      if (!left[p]) continue;
      const S before = last[p], dt = t - before;
      Lane* const up = (Lane*)(u + p * width);
      Lane* const rp = (Lane*)(rate + p * width);
      const Lane* const w = (const Lane*)(panel + z.tap[e] * width);
      last[p] = t;
      Bits signs = ~(Bits){};
      for (I v = 0; v < n; ++v) signs &= (Bits)(up[v] += rp[v] * dt);
      if (__builtin_expect(!negative(signs), 0)) {
        left[p] -= (int32_t)spike(t, before, up, rp, n, out + p * z.outs, slope + p * z.outs);
        if (!left[p]) --open;
      }
      for (I v = 0; v < n; ++v) rp[v] += w[v];
    }
  }
  for (I p = 0; p < z.places; ++p) if (left[p]) for (I l = 0; l < lanes; ++l) {
    const S now = u[p * width + l], r = rate[p * width + l];
    if (now == -NEVER) continue;
    S when = r > 0 ? later(last[p] - now / r, last[p], NEVER) : NEVER;
    if (when > until) when = NEVER;
    out[p * z.outs + l] = when;
    slope[p * z.outs + l] = when < NEVER ? r : (S)0;
  }
}

static Wiring wiring(const I* with) {
  return {with[1], with[2], with[3], with[4], (const int32_t*)with[8], (const int32_t*)with[9], (const int32_t*)with[10]};
}

// with: images, inputs, places, outs, taps, threads, threshold and until (double), addresses of start, place, tap, t [images, inputs],
// weight [outs, taps], out and slope [images, places, outs]
extern "C" int forward(const I* with) {
  const Wiring z = wiring(with);
  const I images = with[0], width = width_of(z.outs), panels = divided(z.outs, width), threads = with[5], state = z.places * width;
  double threshold, until; memcpy(&threshold, with + 6, 8); memcpy(&until, with + 7, 8);
  const S* const t = (const S*)with[11];
  S* const panel = aligned(panels * z.taps * width);
  S* const scratch = aligned(threads * 2 * state);
  S* const last = aligned(threads * z.places);
  int32_t* const left = (int32_t*)malloc((threads * z.places + 1) * 4);
  Event* const event = (Event*)malloc((images * z.inputs + 1) * sizeof(Event));
  Event* const spare = (Event*)malloc((threads * z.inputs + 1) * sizeof(Event));
  I* const events = (I*)malloc((images + 1) * sizeof(I));
  const bool fits = panel && scratch && last && left && event && spare && events;
  if (fits) {
    lay(panel, (const S*)with[12], z, width, (int)threads);
#pragma omp parallel for num_threads((int)threads) schedule(static)
    for (I b = 0; b < images; ++b) {
      Event* const mine = event + b * z.inputs;
      I n = 0;
      for (I i = 0; i < z.inputs; ++i) if (t[b * z.inputs + i] < (S)until) mine[n++] = {t[b * z.inputs + i], (int32_t)i};
      order(mine, spare + omp_get_thread_num() * z.inputs, n);
      events[b] = n;
    }
#pragma omp parallel num_threads((int)threads)
    {
      const I me = omp_get_thread_num();
#pragma omp for schedule(static)
      for (I item = 0; item < panels * images; ++item) {
        const I q = item / images, b = item % images, first = b * z.places * z.outs + q * width;
        const auto one = width == LANES ? fire<1> : width == 2 * LANES ? fire<2> : fire<0>;
        one(z, event + b * z.inputs, events[b], panel + q * z.taps * width, width, lesser(width, z.outs - q * width), (S)threshold,
            (S)until, (S*)with[13] + first, (S*)with[14] + first, scratch + me * 2 * state, scratch + (me * 2 + 1) * state, last + me * z.places,
             left + me * z.places);
      }
    }
  }
  free(panel); free(scratch); free(last); free(left); free(event); free(spare); free(events);
  return !fits;
}

// one image, one panel: adds to gw [taps, width]; sets gt [inputs] unless null. g, out, slope [places, outs] from the panel's first
// output on; share (g / slope), when (out, or lowest where silent), pull (-push where silent) [places, width] and until [places] are filled here
static void pull(const Wiring& z, const S* t, const S* g, const S* out, const S* slope, const S* panel, I width, I lanes, S push, S* gw,
                 S* gt, S* share, S* when, S* pulled, S* until) {
  const I n = width / LANES;
  const S nowhen = sizeof(S) == 8 ? (S)-1e300 : (S)-1e38;
  for (I p = 0; p < z.places; ++p) {
    until[p] = -NEVER;
    for (I l = 0; l < width; ++l) {
      const bool real = l < lanes;
      const S o = real ? out[p * z.outs + l] : -NEVER;
      const bool fired = real && o < NEVER;
      share[p * width + l] = fired ? g[p * z.outs + l] / slope[p * z.outs + l] : (S)0;
      when[p * width + l] = fired ? o : nowhen;
      pulled[p * width + l] = real && !fired ? -push : (S)0;
      if (real && (fired || push != 0) && o > until[p]) until[p] = o;
    }
  }
  for (I i = 0; i < z.inputs; ++i) {
    const S ti = t[i];
    Lane sum = {};
    if (ti < NEVER) for (I e = z.start[i]; e < z.start[i + 1]; ++e) {
      const I p = z.place[e];
      if (!(until[p] > ti)) continue;
      const Lane* const s = (const Lane*)(share + p * width);
      const Lane* const o = (const Lane*)(when + p * width);
      const Lane* const d = (const Lane*)(pulled + p * width);
      const Lane* const w = (const Lane*)(panel + z.tap[e] * width);
      Lane* const to = (Lane*)(gw + z.tap[e] * width);
      const bool silent = until[p] == NEVER;
      for (I v = 0; v < n; ++v) {
        const Lane mine = o[v] > ti ? s[v] : (Lane){};
        to[v] += mine * (ti - o[v]);
        sum += mine * w[v];
      }
      if (silent) for (I v = 0; v < n; ++v) to[v] += d[v];
    }
    if (gt) {
      S total = 0;
      for (I l = 0; l < LANES; ++l) total += sum[l];
      gt[i] = total;
    }
  }
}

// with: as forward up to weight (push in place of threshold, until unread), then g, out, slope [images, places, outs],
// gt [images, inputs] or 0, gw [outs, taps]
extern "C" int backward(const I* with) {
  const Wiring z = wiring(with);
  const I images = with[0], width = width_of(z.outs), panels = divided(z.outs, width), threads = with[5], state = z.places * width;
  double push; memcpy(&push, with + 6, 8);
  const I chunks = lesser(images, CHUNKS / panels > 1 ? CHUNKS / panels : 1), unit = divided(images, chunks), part = z.taps * width;
  const S* const t = (const S*)with[11];
  S* const gt = (S*)with[16];
  S* const gw = (S*)with[17];
  S* const panel = aligned(panels * part);
  S* const parts = aligned(chunks * panels * part);
  S* const scratch = aligned(threads * 3 * state);
  S* const until = aligned(threads * z.places);
  S* const times = gt && panels > 1 ? aligned(panels * images * z.inputs) : gt;
  const bool fits = panel && parts && scratch && until && (times || !gt);
  if (fits) {
    lay(panel, (const S*)with[12], z, width, (int)threads);
    memset(parts, 0, chunks * panels * part * sizeof(S));
#pragma omp parallel num_threads((int)threads)
    {
      S* const mine = scratch + omp_get_thread_num() * 3 * state;
#pragma omp for schedule(static)
      for (I item = 0; item < panels * chunks; ++item) {
        const I q = item / chunks, c = item % chunks;
        for (I b = c * unit; b < lesser(images, (c + 1) * unit); ++b) {
          const I first = b * z.places * z.outs + q * width;
          pull(z, t + b * z.inputs, (const S*)with[13] + first, (const S*)with[14] + first, (const S*)with[15] + first, panel + q * part,
               width, lesser(width, z.outs - q * width), (S)push, parts + item * part, gt ? times + (q * images + b) * z.inputs : 0, mine,
               mine + state, mine + 2 * state, until + omp_get_thread_num() * z.places);
        }
      }
#pragma omp for schedule(static)
      for (I j = 0; j < z.outs; ++j) for (I k = 0; k < z.taps; ++k) {
        S total = 0;
        for (I c = 0; c < chunks; ++c) total += parts[((j / width) * chunks + c) * part + k * width + j % width];
        gw[j * z.taps + k] = total;
      }
      if (gt && panels > 1) {
#pragma omp for schedule(static)
        for (I k = 0; k < images * z.inputs; ++k) {
          S total = 0;
          for (I q = 0; q < panels; ++q) total += times[q * images * z.inputs + k];
          gt[k] = total;
        }
      }
    }
  }
  if (times != gt) free(times);
  free(panel); free(parts); free(scratch); free(until);
  return !fits;
}
