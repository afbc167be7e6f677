// Diehl and Cook's network over many images. The equations are those of reference.py, operation by operation, so that results are
// equal bit by bit. Only events are walked: a spike touches its row of the weights when it arrives.
#include <stdint.h>
#include <string.h>
#include <vector>
typedef int64_t I;
typedef uint64_t W;
typedef double S;

static inline W mixed(W z) {  // SplitMix64
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}
// denormal numbers are slow, and what small they add is rounded away
static inline S shrunk(S x, S keep) { return x * keep < 1e-200 ? 0 : x * keep; }
static const W GAMMA = 0x9E3779B97F4A7C15u;

// in the order of `_constants` in network.py
struct Cell { S rest, reset, level, share, held, inhibited; };
struct Constants {
  Cell e, i;
  S keep_e, keep_i, keep_theta, theta_plus, to_inhibitory, to_excitatory, total;
  S keep_post1, keep_post2, rate_pre, rate_post, low, high, intensity, dt;
};
struct Sizes { I inputs, neurons, slots, steps, rest, least, attempts, ages; };
// `[neurons]` each
struct Cells { S *v, *ge, *gi, *hold; };
struct State { Cells e, i; S *theta, *post1, *post2; };
// weights `[inputs, neurons]`; target: neurons sorted by delay, `[inputs, neurons]`; from: where each delay begins, `[inputs, slots + 1]`;
// arrived: step of the last arrival, `[inputs, neurons]`; trace: the pre trace after so many steps, `[ages]`
struct Net { S* weights; const uint16_t *target, *from; int32_t* arrived; const S* trace; };

static I integrate(const Constants& c, const Cell& p, const Cells& s, const S* theta, S* fired, I n) {
  I count = 0;
  for (I j = 0; j < n; ++j) {
    const S hold = s.hold[j] - 1 > 0 ? s.hold[j] - 1 : 0;
    const S leak = (p.rest - s.v[j]) + s.ge[j] * (0 - s.v[j]) + s.gi[j] * (p.inhibited - s.v[j]);
    const S v = hold > 0 ? p.reset : s.v[j] + p.share * leak;
    const bool fires = (hold <= 0) & (v > theta[j] + p.level);
    s.v[j] = fires ? p.reset : v;
    s.hold[j] = fires ? p.held : hold;
    s.ge[j] = shrunk(s.ge[j], c.keep_e);
    s.gi[j] = shrunk(s.gi[j], c.keep_i);
    fired[j] = fires ? 1 : 0;
    count += fires;
  }
  return count;
}

static void normalise(const Sizes& z, S total, S* weights) {
  std::vector<S> sums(z.neurons, 0);
  for (I i = 0; i < z.inputs; ++i)
    for (I j = 0; j < z.neurons; ++j) sums[j] += weights[i * z.neurons + j];
  for (S& sum : sums) sum = sum == 0 ? 1 : total / sum;
  for (I i = 0; i < z.inputs; ++i)
    for (I j = 0; j < z.neurons; ++j) weights[i * z.neurons + j] *= sums[j];
}

struct Run {
  const Sizes& z; const Constants& c; const Net& net; const State& s; const bool plastic;
  int32_t clock;
  std::vector<std::vector<uint16_t>> flying;  // inputs that fired, by step modulo slots
  std::vector<uint16_t> pixels; std::vector<W> bounds;
  std::vector<S> fired, fired_i;

  Run(const Sizes& z, const Constants& c, const Net& net, const State& s, bool plastic, I clock)
      : z(z), c(c), net(net), s(s), plastic(plastic), clock((int32_t)clock), flying(z.slots), fired(z.neurons), fired_i(z.neurons) {}

  // input spikes that arrive now reach the cells, and meet their trace
  void deliver() {
    const I n = z.neurons;
    for (I age = 0; age < z.slots; ++age)
      for (const uint16_t i : flying[(clock - age + z.slots) % z.slots]) {
        const I from = net.from[i * (z.slots + 1) + age], to = net.from[i * (z.slots + 1) + age + 1];
        const uint16_t* const target = net.target + i * n;
        S* const w = net.weights + i * n;
        int32_t* const arrived = net.arrived + i * n;
        for (I k = from; k < to; ++k) {
          const I j = target[k];
          s.e.ge[j] += w[j];
          if (plastic) {
            const S less = w[j] - c.rate_pre * s.post1[j];
            w[j] = less < c.low ? c.low : less > c.high ? c.high : less;
            arrived[j] = clock;
          }
        }
      }
  }

  void potentiate(I j) {
    for (I i = 0; i < z.inputs; ++i) {
      const I at = i * z.neurons + j, age = (I)clock - net.arrived[at];
      const S pre = age < z.ages ? net.trace[age] : 0, more = net.weights[at] + c.rate_post * pre * s.post2[j];
      net.weights[at] = more < c.low ? c.low : more > c.high ? c.high : more;
    }
    s.post1[j] = s.post2[j] = 1;
  }

  // one step; draws: where this step's random numbers begin. Adds to counts `[neurons]` and to activity: input, excitatory, inhibitory
  void step(W draws, bool shown, int32_t* counts, I* activity) {
    const I n = z.neurons;
    if (plastic)
      for (I j = 0; j < n; ++j) {
        s.theta[j] *= c.keep_theta;
        s.post1[j] = shrunk(s.post1[j], c.keep_post1);
        s.post2[j] = shrunk(s.post2[j], c.keep_post2);
      }
    static const std::vector<S> none(65536, 0.0);
    const I spikes = integrate(c, c.e, s.e, s.theta, fired.data(), n), back = integrate(c, c.i, s.i, none.data(), fired_i.data(), n);
    std::vector<uint16_t>& now = flying[clock % z.slots];
    now.clear();
    if (shown)
      for (size_t k = 0; k < pixels.size(); ++k)
        if (mixed(draws + GAMMA * (W)(pixels[k] + 1)) >> 11 < bounds[k]) now.push_back(pixels[k]);
    deliver();
    activity[0] += now.size(); activity[1] += spikes; activity[2] += back;
    if (back)
      for (I j = 0; j < n; ++j) s.e.gi[j] += c.to_excitatory * ((S)back - fired_i[j]);
    if (spikes)
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
  void present(const uint8_t* image, W key, int32_t* counts, I* activity, bool rest) {
    for (I attempt = 0; attempt < z.attempts; ++attempt) {
      if (plastic) normalise(z, c.total, net.weights);
      pixels.clear(); bounds.clear();
      for (I i = 0; i < z.inputs; ++i)
        if (image[i]) {
          pixels.push_back((uint16_t)i);
          const S chance = image[i] / 8.0 * (c.intensity + (S)attempt) * c.dt / 1000.0;
          bounds.push_back(chance < 1 ? (W)(chance * 9007199254740992.0) : (W)1 << 53);
        }
      const W own = mixed((key ^ (W)attempt) + GAMMA);
      memset(counts, 0, z.neurons * sizeof *counts);
      for (I t = 0; t < z.steps; ++t) step(own + GAMMA * (W)(t * z.inputs), true, counts, activity);
      I found = 0;
      for (I j = 0; j < z.neurons; ++j) found += counts[j];
      ++activity[3];
      const bool enough = found >= z.least || attempt + 1 == z.attempts;
      if (rest || !enough)
        for (I t = 0; t < z.rest; ++t) step(0, false, counts, activity);
      if (enough) return;
    }
  }
};

// with: threads, images, plastic, clock, then the addresses of sizes, constants, weights, target, from, arrived, trace, images `[images,
// inputs]`, keys `[images]`, counts `[images, neurons]`, activity `[images, 4]`, and of the state: v, ge, gi, hold of the excitatory
// and of the inhibitory cells, theta, post1, post2. A plastic run changes weights, arrived and state, image after image; the other leaves
// them, and every image starts from that state. Returns the steps it took if plastic.
extern "C" int present(const I* with) {
  const I threads = with[0], images = with[1], plastic = with[2], clock = with[3];
  const Sizes z = *(const Sizes*)with[4];
  const Constants c = *(const Constants*)with[5];
  const Net net = {(S*)with[6], (const uint16_t*)with[7], (const uint16_t*)with[8], (int32_t*)with[9], (const S*)with[10]};
  const uint8_t* const pixels = (const uint8_t*)with[11];
  const W* const keys = (const W*)with[12];
  int32_t* const counts = (int32_t*)with[13];
  I* const activity = (I*)with[14];
  S* const* const at = (S* const*)(with + 15);
  const State s = {{at[0], at[1], at[2], at[3]}, {at[4], at[5], at[6], at[7]}, at[8], at[9], at[10]};
  memset(activity, 0, images * 4 * sizeof *activity);
  if (plastic) {
    Run run(z, c, net, s, true, clock);
    for (I k = 0; k < images; ++k) run.present(pixels + k * z.inputs, keys[k], counts + k * z.neurons, activity + k * 4, true);
    return run.clock;
  }
#pragma omp parallel for num_threads((int)threads) schedule(dynamic)
  for (I k = 0; k < images; ++k) {
    std::vector<S> copy(8 * z.neurons);
    S* to[8];
    for (I m = 0; m < 8; ++m) { to[m] = copy.data() + m * z.neurons; memcpy(to[m], at[m], z.neurons * sizeof(S)); }
    const State own = {{to[0], to[1], to[2], to[3]}, {to[4], to[5], to[6], to[7]}, s.theta, s.post1, s.post2};
    Run run(z, c, net, own, false, 0);
    run.present(pixels + k * z.inputs, keys[k], counts + k * z.neurons, activity + k * 4, false);
  }
  return 0;
}
