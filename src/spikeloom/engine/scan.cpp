// The only time loops of the CPU backend, in one file with what both need. Memory is time-major [T, N]; a block of neurons stays in L1
// while t runs over all steps.
// `//each list: text` is repeated with @ = index of every member of the list, `//put PART` is replaced by generated statements.
// With BITS > 0 the forward keeps that many bits per neuron and step, all that the backward needs; else the backward recomputes from x.
// With PLANES > 0 it also writes as many truth values of each neuron and step as words: neuron n is bit n % 64 of word n / 64.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
typedef int64_t I;
#ifdef DOUBLE
typedef double S;
#define U(name) __builtin_##name
#else
typedef float S;
#define U(name) __builtin_##name##f
#endif
#if defined(BFLOAT16)
typedef uint16_t X;
static inline S get(X h) { uint32_t u = (uint32_t)h << 16; S f; memcpy(&f, &u, 4); return f; }
static inline X put(S f) {  // round to nearest even
  uint32_t u; memcpy(&u, &f, 4);
  const uint32_t r = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  return (X)(f != f ? 0x7fc0u : r);
}
#elif defined(HALF)
typedef _Float16 X;
static inline S get(X h) { return (S)h; }
static inline X put(S f) { return (X)f; }
#else
typedef S X;
static inline S get(X f) { return f; }
static inline X put(S f) { return f; }
#endif
#ifdef DOUBLE
static inline S Exp(S z) { return __builtin_exp(z); }
static inline S Tanh(S z) { return __builtin_tanh(z); }
#else
// 2^k for -252 <= k <= 254 as a product of two factors, so that results beyond the normal range come out right
static inline S power(int32_t half) { const uint32_t u = (uint32_t)(half + 127) << 23; S f; memcpy(&f, &u, 4); return f; }
// polynomials of Cephes (Moshier): within 2 units in the last place, and free of branches, so that loops vectorise
static inline S Exp(S z) {
  const S low = z < -104.0f ? -104.0f : z, c = low > 89.0f ? 89.0f : low;
  const S magic = 12582912.0f, m = c * 1.44269504088896341f + magic, n = m - magic;
  int32_t k; memcpy(&k, &m, 4); k -= 0x4b400000;
  const S r = c - n * 0.693359375f - n * -2.12194440e-4f;
  const S p = ((((1.9875691500e-4f * r + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r + 4.1665795894e-2f) * r + 1.6666665459e-1f) * r + 0.5f;
  const int32_t half = k >> 1;
  return (p * (r * r) + r + 1.0f) * power(half) * power(k - half);
}
static inline S Tanh(S z) {
  const S a = __builtin_fabsf(z), w = z * z;
  const S p = (((-5.70498872745e-3f * w + 2.06390887954e-2f) * w - 5.37397155531e-2f) * w + 1.33314422036e-1f) * w - 3.33332819422e-1f;
  const S big = __builtin_copysignf(1.0f - 2.0f / (Exp(2.0f * a) + 1.0f), z);
  return a < 0.625f ? p * w * z + z : big;
}
#endif
static inline S Sigmoid(S z) { return S(1) / (S(1) + Exp(-z)); }

// a block is a multiple of GRAIN neurons
enum : I { TILE = 512, BYTES = TILE / 8, GRAIN = BITS ? TILE : 64 };
static inline I lesser(I a, I b) { return a < b ? a : b; }

// most neurons of a block whose `arrays` arrays shall fill no more than `bytes`
static constexpr I fitting(I bytes, I arrays) {
  const I n = bytes / (I)sizeof(S) / (arrays ? arrays : 1) / GRAIN * GRAIN;
  return n < 256 ? (GRAIN < 256 ? 256 : GRAIN) : n > 8192 ? 8192 : n;
}

// neurons per block; depends on N only, never on the threads
static inline I block_length(I N, I most) {
  I blocks = (N + most - 1) / most;
  const I few = lesser(16, (N + 1023) / 1024);
  if (blocks < few) blocks = few;
  return ((N + blocks - 1) / blocks + GRAIN - 1) / GRAIN * GRAIN;
}

static inline void prefetch(const X* p, I n) {
  for (I i = 0; i < n; i += 64 / (I)sizeof(X)) __builtin_prefetch(p + i, 0, 2);
}

#if defined(__clang__) || !defined(__SSE2__)
#define NO_STREAM
#elif defined(__AVX512F__)
typedef long long V __attribute__((vector_size(64), may_alias, aligned(1)));
#define STREAM(p, v) __builtin_ia32_movntdq512((long long __attribute__((vector_size(64)))*)(p), v)
#elif defined(__AVX__)
typedef long long V __attribute__((vector_size(32), may_alias, aligned(1)));
#define STREAM(p, v) __builtin_ia32_movntdq256((long long __attribute__((vector_size(32)))*)(p), v)
#else
typedef long long V __attribute__((vector_size(16), may_alias, aligned(1)));
#define STREAM(p, v) __builtin_ia32_movntdq((long long __attribute__((vector_size(16)))*)(p), v)
#endif

// copy past the caches, for results too large to stay in them
static inline void stream(X* to, const X* from, I n) {
#ifdef NO_STREAM
  memcpy(to, from, n * sizeof(X));
#else
  const I per = sizeof(V) / sizeof(X);
  I i = lesser(n, (I)((sizeof(V) - (uintptr_t)to % sizeof(V)) % sizeof(V) / sizeof(X)));
  memcpy(to, from, i * sizeof(X));
  for (; i + per <= n; i += per) STREAM(to + i, *(const V*)(from + i));
  memcpy(to + i, from + i, (n - i) * sizeof(X));
#endif
}

// per-channel values of the neurons n0 ... n0+len: channel of neuron n is (n / inner) % C
static inline void spread(S* to, const S* p, I n0, I len, I inner, I C) {
  I c = n0 / inner % C, left = inner - n0 % inner;
  for (I i = 0; i < len;) {
    if (inner == 1) {
      const I m = lesser(C - c, len - i);
      memcpy(to + i, p + c, m * sizeof(S));
      i += m; c = 0;
      continue;
    }
    const I m = lesser(left, len - i);
    for (I j = 0; j < m; ++j) to[i + j] = p[c];
    i += m; c = c + 1 == C ? 0 : c + 1; left = inner;
  }
}

#if BITS
// bit k of byte j belongs to neuron j + k * BYTES of the tile; kept as [T, tiles, BITS, BYTES]
static inline void squeeze(uint8_t* __restrict to, const uint8_t* __restrict from) {
  for (I j = 0; j < BYTES; ++j) {
    unsigned b = 0;
    for (I k = 0; k < 8; ++k) b |= (unsigned)from[j + k * BYTES] << k;
    to[j] = (uint8_t)b;
  }
}
static inline void expand(uint8_t* __restrict to, const uint8_t* __restrict from) {
  for (I k = 0; k < 8; ++k)
    for (I j = 0; j < BYTES; ++j) to[j + k * BYTES] = from[j] >> k & 1;
}
#endif

#if PLANES
// truth values, all bits of a byte each, as words; the last is filled up with 0
static inline void words(uint64_t* __restrict to, const int8_t* __restrict from, I n) {
  for (I k = 0; 64 * k < n; ++k) {
#if defined(__AVX512BW__)
    typedef char Bytes __attribute__((vector_size(64)));
    Bytes all; memcpy(&all, from + 64 * k, 64);
    uint64_t word = __builtin_ia32_cvtb2mask512(all);
#elif defined(__AVX2__)
    typedef char Bytes __attribute__((vector_size(32)));
    Bytes low, high; memcpy(&low, from + 64 * k, 32); memcpy(&high, from + 64 * k + 32, 32);
    uint64_t word = (uint32_t)__builtin_ia32_pmovmskb256(low) | (uint64_t)(uint32_t)__builtin_ia32_pmovmskb256(high) << 32;
#else
    uint64_t word = 0;
    for (I j = 0; j < 8; ++j) {
      uint64_t eight; memcpy(&eight, from + 64 * k + 8 * j, 8);
      word |= ((eight & 0x0101010101010101u) * 0x0102040810204080u >> 56) << (8 * j);
    }
#endif
    to[k] = n - 64 * k < 64 ? word & (((uint64_t)1 << (n - 64 * k)) - 1) : word;
  }
}
#endif

//---- forward
// with: N, T, threads, inner, C, then the addresses of x, y, first states (null: zero), last states (null: not wanted), values, bits, and
// of the planes' words [PLANES, T, ceil(N / 64)]
extern "C" int forward(const I* with) {
  const I N = with[0], T = with[1], inner = with[3], C = with[4];
  void* const* const at = (void* const*)(with + 5);
  const bool far = N * T * (I)sizeof(X) > (8 << 20);
  const X* const x = (const X*)at[0];
  X* const y = (X*)at[1];
  void* const* const first = at + 2;
  void* const* const last = first + STATES;
  void* const* const value = last + STATES;
#if BITS
  uint8_t* const bits = (uint8_t*)value[VALUES];
  const I tiles = (N + TILE - 1) / TILE;
#endif
#if PLANES
  uint64_t* const planes = (uint64_t*)value[VALUES + 1];
  const I pitch = (N + 63) / 64;
#endif
  //each scalar: const S p@ = *(const S*)value[@];
  constexpr I MOST = fitting(32768, STATES + ARRAYS);
  const I B = block_length(N, MOST), blocks = N ? (N + B - 1) / B : 0;
  const int threads = N * T > 32768 ? (int)with[2] : 1;
  const bool periodic = inner == 1 && TILE + C <= MOST;  // neighbours are channels: a tile's worth of them is enough for all tiles
#pragma omp parallel for num_threads(threads) schedule(static)
  for (I b = 0; b < blocks; ++b) {
    const I n0 = b * B, len = lesser(B, N - n0);
    alignas(64) X out[TILE];
    //each bit: alignas(64) uint8_t z@[TILE] = {0};
    //each plane: alignas(64) int8_t f@[TILE] = {0};
    //each state: alignas(64) S s@[MOST]; if (first[@]) memcpy(s@, (const S*)first[@] + n0, len * sizeof(S)); else memset(s@, 0, len * sizeof(S));
    //each channel: alignas(64) S c@[MOST]; spread(c@, (const S*)value[@], periodic ? 0 : n0, periodic ? TILE + C : len, inner, C);
    for (I t = 0; t < T; ++t)
      for (I i0 = 0; i0 < len; i0 += TILE) {
        const I m = lesser(TILE, len - i0);
        const X* __restrict const xt = x + t * N + n0 + i0;
        X* __restrict const yt = far ? out : y + t * N + n0 + i0;
        //each state: S* __restrict const w@ = s@ + i0;
        const I at0 = periodic ? (n0 + i0) % C : i0;
        //each channel: const S* __restrict const q@ = c@ + at0;
        if (t + 1 < T) prefetch(xt + N, m);
#pragma GCC ivdep
        for (I i = 0; i < m; ++i) {
          const S x0 = get(xt[i]);
          //each state: const S v@ = w@[i];
          //each channel: const S p@ = q@[i];
          //put BODY
          yt[i] = put(y0);
          //each state: w@[i] = n@;
          //each bit: z@[i] = (uint8_t)k@;
          //each plane: f@[i] = (int8_t)-(int32_t)e@;
        }
        //each bit: squeeze(bits + ((t * tiles + (n0 + i0) / TILE) * BITS + @) * BYTES, z@);
        //each plane: words(planes + (@ * T + t) * pitch + (n0 + i0) / 64, f@, m);
        if (far) stream(y + t * N + n0 + i0, out, m);
      }
    //each state: if (last[@]) memcpy((S*)last[@] + n0, s@, len * sizeof(S));
  }
  return 0;
}
//---- backward
struct Scratch {
  void* p = nullptr;
  I n = 0;
  S* of(I count) {
    if (n < count) { free(p); n = count; if (posix_memalign(&p, 64, n * sizeof(S))) p = nullptr, n = 0; }
    return (S*)p;
  }
  ~Scratch() { free(p); }
};
static thread_local Scratch scratch;

static inline double total(const S* g, I n) {
  double a[16] = {0}, sum = 0;
  I i = 0;
  for (; i + 16 <= n; i += 16)
    for (int j = 0; j < 16; ++j) a[j] += (double)g[i + j];
  for (; i < n; ++i) a[i % 16] += (double)g[i];
  for (int j = 0; j < 16; ++j) sum += a[j];
  return sum;
}

// adds the entries of the neurons n0 ... n0+len to those of their channels, counted from the channel of n0
static inline void gather(double* to, const S* g, I n0, I len, I inner, I C) {
  I c = 0, m = lesser(inner > 1 ? inner - n0 % inner : C, len);
  for (I i = 0; i < len; i += m, m = lesser(inner > 1 ? inner : C, len - i)) {
    if (inner > 1) to[c] += total(g + i, m), c = c + 1 == C ? 0 : c + 1;
    else for (I j = 0; j < m; ++j) to[j] += (double)g[i + j];
  }
}

// sum over the blocks' rows of `wide` channels, of which row b's begin at the channel of neuron b * B
static void fold(S* to, const double* part, I blocks, I B, I wide, I inner, I C) {
  double* const sum = (double*)calloc(C, sizeof(double));
  for (I b = 0; b < blocks; ++b)
    for (I j = 0, c = b * B / inner % C; j < wide; ++j, c = c + 1 == C ? 0 : c + 1) sum[c] += part[b * wide + j];
  for (I c = 0; c < C; ++c) to[c] = (S)sum[c];
  free(sum);
}

// with: N, T, threads, inner, C, then the addresses of x (of the bits, if any, in its place), gy, gx, first states (null: zero),
// gradients of the last states (null: zero), gradients of the first states (null: not wanted), values, gradients of the values
extern "C" int backward(const I* with) {
  const I N = with[0], T = with[1], inner = with[3], C = with[4];
  void* const* const at = (void* const*)(with + 5);
  const bool far = N * T * (I)sizeof(X) > (8 << 20);
  constexpr I MOST = fitting(65536, STATES + ARRAYS + GRADS);
#if BITS
  const uint8_t* const bits = (const uint8_t*)at[0];
  const I tiles = (N + TILE - 1) / TILE, B = block_length(N, MOST);
#else
  const X* const x = (const X*)at[0];
  const I B = block_length(N, lesser(MOST, fitting(1 << 18, T * STATES)));
#endif
  const I blocks = N ? (N + B - 1) / B : 0;
  const X* const gy = (const X*)at[1];
  X* const gx = (X*)at[2];
  void* const* const first = at + 3;
  void* const* const glast = first + STATES;
  void* const* const gfirst = glast + STATES;
  void* const* const value = gfirst + STATES;
  void* const* const gvalue = value + VALUES;
  //each scalar: const S p@ = *(const S*)value[@];
  const int threads = N * T > 16384 ? (int)with[2] : 1;
  const bool periodic = inner == 1 && TILE + C <= MOST;  // tiles share their sums, too
  bool ok = true;
  //each scalargrad: double* const part@ = (double*)malloc((blocks + 1) * sizeof(double));
  const I wide = periodic ? C : lesser(C, B + 1);  // channels of a block
  //each channelgrad: double* const part@ = (double*)calloc(blocks * wide + 1, sizeof(double));
#pragma omp parallel for num_threads(threads) schedule(static)
  for (I b = 0; b < blocks; ++b) {
    const I n0 = b * B, len = lesser(B, N - n0);
    alignas(64) X out[TILE];
#if BITS
    //each bit: alignas(64) uint8_t z@[TILE];
#else
    S* const tape = scratch.of((T * STATES + 1) * B);  // states before step t: tape + (t * STATES + k) * B
    if (!tape) { ok = false; continue; }
    //each state: S* const s@ = tape + @ * B; if (first[@]) memcpy(s@, (const S*)first[@] + n0, len * sizeof(S)); else memset(s@, 0, len * sizeof(S));
#endif
    //each state: alignas(64) S g@[MOST]; if (glast[@]) memcpy(g@, (const S*)glast[@] + n0, len * sizeof(S)); else memset(g@, 0, len * sizeof(S));
    //each channel: alignas(64) S c@[MOST]; spread(c@, (const S*)value[@], periodic ? 0 : n0, periodic ? TILE + C : len, inner, C);
    //each channelgrad: alignas(64) S a@[MOST]; memset(a@, 0, (periodic ? TILE + C : len) * sizeof(S));
    //each scalargrad: alignas(64) S a@[TILE] = {0};
#if !BITS
    for (I t = 0; t + 1 < T; ++t)
      for (I i0 = 0; i0 < len; i0 += TILE) {
        const I m = lesser(TILE, len - i0);
        const X* __restrict const xt = x + t * N + n0 + i0;
        //each state: const S* __restrict const w@ = s@ + t * STATES * B + i0; S* __restrict const z@ = s@ + (t + 1) * STATES * B + i0;
        const I at0 = periodic ? (n0 + i0) % C : i0;
        //each channel: const S* __restrict const q@ = c@ + at0;
        prefetch(xt + N, m);
#pragma GCC ivdep
        for (I i = 0; i < m; ++i) {
          const S x0 = get(xt[i]);
          //each state: const S v@ = w@[i];
          //each channel: const S p@ = q@[i];
          //put REPLAY
          //each state: z@[i] = n@;
        }
      }
#endif
    for (I t = T - 1; t >= 0; --t)
      for (I i0 = 0; i0 < len; i0 += TILE) {
        const I m = lesser(TILE, len - i0);
        const X* __restrict const gyt = gy + t * N + n0 + i0;
#if BITS
        //each bit: expand(z@, bits + ((t * tiles + (n0 + i0) / TILE) * BITS + @) * BYTES);
#else
        const X* __restrict const xt = x + t * N + n0 + i0;
        //each state: const S* __restrict const w@ = s@ + t * STATES * B + i0;
#endif
#ifdef GRADX
        X* __restrict const gxt = far ? out : gx + t * N + n0 + i0;
#endif
        //each state: S* __restrict const e@ = g@ + i0;
        const I at0 = periodic ? (n0 + i0) % C : i0;
        //each channel: const S* __restrict const q@ = c@ + at0;
        //each channelgrad: S* __restrict const b@ = a@ + at0;
        //each scalargrad: S* __restrict const b@ = a@;
        if (t) prefetch(gyt - N, m);
#pragma GCC ivdep
        for (I i = 0; i < m; ++i) {
          const S gy0 = get(gyt[i]);
#if BITS
          //each bit: const S k@ = (S)z@[i];
#else
          const S x0 = get(xt[i]);
          //each state: const S v@ = w@[i];
#endif
          //each state: const S h@ = e@[i];
          //each channel: const S p@ = q@[i];
          //put BODY
#ifdef GRADX
          gxt[i] = put(gx0);
#endif
          //each state: e@[i] = m@;
          //each grad: b@[i] += d@;
        }
#ifdef GRADX
        if (far) stream(gx + t * N + n0 + i0, out, m);
#endif
      }
    //each state: if (gfirst[@]) memcpy((S*)gfirst[@] + n0, g@, len * sizeof(S));
    //each scalargrad: part@[b] = total(a@, lesser(TILE, len));
    //each channelgrad: gather(part@ + b * wide, a@, periodic ? 0 : n0, periodic ? TILE + C : len, inner, C);
  }
  //each scalargrad: { double sum = 0; for (I b = 0; b < blocks; ++b) sum += part@[b]; *(S*)gvalue[@] = (S)sum; free(part@); }
  //each channelgrad: fold((S*)gvalue[@], part@, blocks, periodic ? 0 : B, wide, inner, C); free(part@);
  return ok ? 0 : 1;
}
