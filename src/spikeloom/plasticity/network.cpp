// Diehl and Cook's network over many images. The equations are those of reference.py, operation by operation, so that results are
// equal bit by bit. Only events are walked: a spike reaches its synapses delay by delay, and they lie in that order.
#include <stdint.h>
#include <string.h>
#include <vector>
typedef int64_t I;
typedef uint64_t W;
typedef double S;

static const W GAMMA = 0x9E3779B97F4A7C15u;
static inline W mixed(W z) {  // SplitMix64
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}
// denormal numbers are slow, and what so little adds is rounded away
static inline S shrunk(S x, S keep) { return x * keep < 1e-200 ? 0 : x * keep; }

// in the order of `_constants` in network.py
struct Cell { S rest, reset, level, share, held, inhibited; };
struct Constants {
  Cell e, i;
  S keep_e, keep_i, keep_theta, theta_plus, to_inhibitory, to_excitatory, total;
  S keep_post1, keep_post2, rate_pre, rate_post, low, high, intensity, dt;
  S within(S w) const { return w < low ? low : w > high ? high : w; }
};
struct Sizes { I inputs, neurons, slots, steps, rest, least, attempts, ages; };
// `[neurons]` each; last: step of the last spike, `[inputs]`
struct Cells { S *v, *ge, *gi, *hold; };
struct State { Cells e, i; S *theta, *post1, *post2; int32_t* last; };

// Synapses `[inputs, neurons]` of each input in order of their delay. begin: where each delay begins, `[inputs, slots + 1]`; place: of
// synapse i of neuron j in its row, and delay: its steps, `[neurons, inputs]`; trace: the pre trace after so many steps, `[ages]`.
struct Net {
  std::vector<S> w; std::vector<uint16_t> place; std::vector<uint8_t> late; const uint16_t *target, *begin; const S* trace;

  Net(const Sizes& z, const S* weights, const uint16_t* target, const uint16_t* begin, const S* trace)
      : w(z.inputs * z.neurons), place(w.size()), late(w.size()), target(target), begin(begin), trace(trace) {
    for (I i = 0; i < z.inputs; ++i)
      for (I d = 0; d < z.slots; ++d)
        for (I k = begin[i * (z.slots + 1) + d]; k < begin[i * (z.slots + 1) + d + 1]; ++k) {
          const I j = target[i * z.neurons + k];
          w[i * z.neurons + k] = weights[i * z.neurons + j];
          place[j * z.inputs + i] = (uint16_t)k;
          late[j * z.inputs + i] = (uint8_t)d;
        }
  }

  void normalise(const Sizes& z, S total) {
    std::vector<S> sums(z.neurons, 0);
    for (I i = 0; i < z.inputs; ++i) {
      const uint16_t* const to = target + i * z.neurons;
      const S* const row = w.data() + i * z.neurons;
#pragma omp simd
      for (I k = 0; k < z.neurons; ++k) sums[to[k]] += row[k];
    }
    for (S& sum : sums) sum = sum == 0 ? 1 : total / sum;
    for (I i = 0; i < z.inputs; ++i) {
      const uint16_t* const to = target + i * z.neurons;
      S* const row = w.data() + i * z.neurons;
#pragma omp simd
      for (I k = 0; k < z.neurons; ++k) row[k] *= sums[to[k]];
    }
  }
};

// one step of forward Euler; fired `[neurons]` is 0 or 1; how many fired
static I integrate(const Constants& c, const Cell p, const Cells& s, const S* __restrict theta, S* __restrict fired, I n) {
  S *__restrict const v = s.v, *__restrict const ge = s.ge, *__restrict const gi = s.gi, *__restrict const held = s.hold;
  const S keep_e = c.keep_e, keep_i = c.keep_i;
  S count = 0;
#pragma omp simd reduction(+ : count)
  for (I j = 0; j < n; ++j) {
    const S hold = held[j] - 1 > 0 ? held[j] - 1 : 0;
    const S leak = (p.rest - v[j]) + ge[j] * (0 - v[j]) + gi[j] * (p.inhibited - v[j]);
    const S moved = hold > 0 ? p.reset : v[j] + p.share * leak;
    const S fires = moved > theta[j] + p.level ? (hold > 0 ? 0 : 1) : 0;
    v[j] = fires > 0 ? p.reset : moved;
    held[j] = fires > 0 ? p.held : hold;
    ge[j] = shrunk(ge[j], keep_e);
    gi[j] = shrunk(gi[j], keep_i);
    fired[j] = fires;
    count += fires;  // whole numbers: their order does not matter
  }
  return (I)count;
}

template <bool plastic> struct Run {
  const Sizes& z; const Constants& c; Net& net; const State& s;
  I clock = 0;
  std::vector<std::vector<uint16_t>> flying;  // inputs that fired, by step modulo slots
  std::vector<int32_t> past; std::vector<I> spikes;  // the last slots + 1 spikes of each input, and their number
  std::vector<uint16_t> pixels; std::vector<W> offsets, bounds, hits;  // of inputs that can fire
  std::vector<S> fired, back, none;

  Run(const Sizes& z, const Constants& c, Net& net, const State& s)
      : z(z), c(c), net(net), s(s), flying(z.slots), past(plastic ? z.inputs * (z.slots + 1) : 0), spikes(z.inputs, 0), fired(z.neurons),
        back(z.neurons), none(z.neurons, 0) {
    if (plastic)
      for (I i = 0; i < z.inputs; ++i)
        for (I k = 0; k <= z.slots; ++k) past[i * (z.slots + 1) + k] = s.last[i];
  }

  void draw(W draws, std::vector<uint16_t>& now) {
    const I n = (I)pixels.size();
    const W *const at = offsets.data(), *const below = bounds.data();
    W* const hit = hits.data();
#pragma omp simd
    for (I k = 0; k < n; ++k) hit[k] = mixed(draws + at[k]) >> 11 < below[k] ? 1 : 0;
    for (I k = 0; k < n; ++k)
      if (hit[k]) now.push_back(pixels[k]);
  }

  // input spikes that arrive now reach the cells, and meet their trace
  void deliver() {
    S *const ge = s.e.ge, *const post1 = s.post1;
    for (I age = 0; age < z.slots && age <= clock; ++age)
      for (const uint16_t i : flying[(clock - age) % z.slots]) {
        const uint16_t *const begin = net.begin + i * (z.slots + 1) + age, *const to = net.target + i * z.neurons;
        S* const w = net.w.data() + i * z.neurons;
#pragma omp simd
        for (I k = begin[0]; k < begin[1]; ++k) {
          ge[to[k]] += w[k];
          if (plastic) w[k] = c.within(w[k] - c.rate_pre * post1[to[k]]);
        }
      }
  }

  void potentiate(I j) {
    for (I i = 0; i < z.inputs; ++i) {
      const I latest = clock - net.late[j * z.inputs + i];
      I k = spikes[i];  // the last spike that has arrived
      while (past[i * (z.slots + 1) + k % (z.slots + 1)] > latest) k += z.slots;
      const I age = latest - past[i * (z.slots + 1) + k % (z.slots + 1)];
      S& w = net.w[i * z.neurons + net.place[j * z.inputs + i]];
      w = c.within(w + c.rate_post * (age < z.ages ? net.trace[age] : 0) * s.post2[j]);
    }
    s.post1[j] = s.post2[j] = 1;
  }

  // one step; draws: where its random numbers begin. Adds to counts `[neurons]` and to activity: input, excitatory, inhibitory
  void step(W draws, bool shown, int32_t* counts, I* activity) {
    const I n = z.neurons;
    if (plastic)
      for (I j = 0; j < n; ++j) {
        s.theta[j] *= c.keep_theta;
        s.post1[j] = shrunk(s.post1[j], c.keep_post1);
        s.post2[j] = shrunk(s.post2[j], c.keep_post2);
      }
    const I ahead = integrate(c, c.e, s.e, s.theta, fired.data(), n), behind = integrate(c, c.i, s.i, none.data(), back.data(), n);
    std::vector<uint16_t>& now = flying[clock % z.slots];
    now.clear();
    if (shown)
      draw(draws, now);
    if (plastic)
      for (const uint16_t i : now) past[i * (z.slots + 1) + ++spikes[i] % (z.slots + 1)] = (int32_t)clock;
    deliver();
    activity[0] += now.size(); activity[1] += ahead; activity[2] += behind;
    if (behind)
      for (I j = 0; j < n; ++j) s.e.gi[j] += c.to_excitatory * ((S)behind - back[j]);
    if (ahead)
      for (I j = 0; j < n; ++j) {
        if (fired[j] == 0) continue;
        s.i.ge[j] += c.to_inhibitory;
        counts[j] += shown;
        if (!plastic) continue;
        s.theta[j] += c.theta_plus;
        potentiate(j);
      }
    ++clock;
  }

  // one image until it has brought spikes enough. activity: also the number of times it was shown
  void present(const uint8_t* image, W key, int32_t* counts, I* activity) {
    for (I attempt = 0; attempt < z.attempts; ++attempt) {
      if (plastic) net.normalise(z, c.total);
      pixels.clear(); offsets.clear(); bounds.clear();
      for (I i = 0; i < z.inputs; ++i)
        if (image[i]) {
          const S chance = image[i] / 8.0 * (c.intensity + (S)attempt) * c.dt / 1000.0;
          pixels.push_back((uint16_t)i);
          offsets.push_back(GAMMA * (W)(i + 1));
          bounds.push_back(chance < 1 ? (W)(chance * 9007199254740992.0) : (W)1 << 53);
        }
      hits.resize(pixels.size());
      const W own = mixed((key ^ (W)attempt) + GAMMA);
      memset(counts, 0, z.neurons * sizeof *counts);
      for (I t = 0; t < z.steps; ++t) step(own + GAMMA * (W)(t * z.inputs), true, counts, activity);
      I found = 0;
      for (I j = 0; j < z.neurons; ++j) found += counts[j];
      ++activity[3];
      const bool enough = found >= z.least || attempt + 1 == z.attempts;
      if (plastic || !enough)
        for (I t = 0; t < z.rest; ++t) step(0, false, counts, activity);
      if (enough) return;
    }
  }
};

// with: threads, images, plastic, then the addresses of sizes, constants, weights `[inputs, neurons]`, target, begin, trace, images
// `[images, inputs]`, keys `[images]`, counts `[images, neurons]`, activity `[images, 4]`, and of the state: v, ge, gi, hold of the
// excitatory and of the inhibitory cells, theta, post1, post2, last. A plastic run changes weights and state, image after image; the
// other leaves them, and every image starts from that state. Returns the steps it took if plastic.
extern "C" int present(const I* with) {
  const I threads = with[0], images = with[1], plastic = with[2];
  const Sizes z = *(const Sizes*)with[3];
  const Constants c = *(const Constants*)with[4];
  S* const weights = (S*)with[5];
  Net net(z, weights, (const uint16_t*)with[6], (const uint16_t*)with[7], (const S*)with[8]);
  const uint8_t* const pixels = (const uint8_t*)with[9];
  const W* const keys = (const W*)with[10];
  int32_t* const counts = (int32_t*)with[11];
  I* const activity = (I*)with[12];
  S* const* const at = (S* const*)(with + 13);
  const State s = {{at[0], at[1], at[2], at[3]}, {at[4], at[5], at[6], at[7]}, at[8], at[9], at[10], (int32_t*)at[11]};
  memset(activity, 0, images * 4 * sizeof *activity);
  if (plastic) {
    Run<true> run(z, c, net, s);
    for (I k = 0; k < images; ++k) run.present(pixels + k * z.inputs, keys[k], counts + k * z.neurons, activity + k * 4);
    for (I i = 0; i < z.inputs; ++i) {
      s.last[i] = run.past[i * (z.slots + 1) + run.spikes[i] % (z.slots + 1)];
      for (I k = 0; k < z.neurons; ++k) weights[i * z.neurons + net.target[i * z.neurons + k]] = net.w[i * z.neurons + k];
    }
    return (int)run.clock;
  }
#pragma omp parallel for num_threads((int)threads) schedule(dynamic)
  for (I k = 0; k < images; ++k) {
    std::vector<S> copy(8 * z.neurons);
    S* to[8];
    for (I m = 0; m < 8; ++m) memcpy(to[m] = copy.data() + m * z.neurons, at[m], z.neurons * sizeof(S));
    const State own = {{to[0], to[1], to[2], to[3]}, {to[4], to[5], to[6], to[7]}, s.theta, s.post1, s.post2, s.last};
    Run<false> run(z, c, net, own);
    run.present(pixels + k * z.inputs, keys[k], counts + k * z.neurons, activity + k * 4);
  }
  return 0;
}
