// Currents and neuron in one pass: gather.h, lists.h, tables.h, tiles.h and the definitions come before this text; `//put BODY` is the neuron's own step.
// A thread takes a piece of the output (rows of all images, one after the other), lists its events for a span of steps, and walks block by
// block of channels through them: the membranes of a piece and block stay in L1 while the steps go by. Spikes leave as bits.
#include <memory>

// base: currents that are there already, [T, B, H, W, channels], or one image of them for all steps (steps 0), or none (null)
// planes, sign: of the result; span: steps listed at a time
// With WHOLE the weights are int8 and the currents int32: sums of weights, times 2^FINE, are added to bias, base and `scale` in that finer
// unit, and kept below MOST. The neuron's step takes them as they are, or (S a float) times `unit`, one number per channel.
struct Layer { I threads, steps, images, height, width, channels, stride, piece, span, planes, sign, baseStep, terms; };
// kind 0: rows of weights; 1: the input itself, times one number per channel
struct Term { I kind; Shape shape; const Word* words; const char* weights; };
// largest: a number of as many bits as the largest magnitude; what left the range of the result, if anything did, and its events
struct Report { I largest, negative, broken, events; };

struct Piece { I r0, r1, t0, t1; };
enum : I { FIXED = 5 };  // addresses before those of the states

// sums [m, width] += the input's values times `scale`
template <class C> static inline void same(C* sums, const Term& k, const C* scale, I from, I m, I c0, I pitch) {
  const Shape& s = k.shape;
  const I words = s.words(), size = s.images * s.height * s.width * words;
  for (I j = 0; j < m; ++j)
    for (I c = 0; c < pitch && c0 + c < s.channels; c += 16) {
      const Word* const w = k.words + (from + j) * words + (c0 + c) / 64;
      const int shift = (c0 + c) % 64;
      const U negative = s.sign ? (U)(w[s.planes * size] >> shift) : 0;
      for (I p = 0; p < s.planes; ++p) {
        const U bits = (U)(w[p * size] >> shift) & 0xffff;
        if (!bits) continue;
        for (int i = 0; i < 16; ++i) {
          const C value = (C)((bits >> i & 1) << p) * scale[c0 + c + i];
          sums[j * pitch + c + i] += negative >> i & 1 ? -value : value;
        }
      }
    }
}

enum : int32_t { MOST = 1 << 28 };
static inline int32_t within(int32_t x, int32_t most) {  // two steps, each one instruction
  x = x < -most ? -most : x;
  return x > most ? most : x;
}
static inline int32_t bounded(int32_t x) { return within(x, MOST); }
static inline float bounded(float x) { return x; }
#ifdef WHOLE
enum : I { CELL = TILE / 2, FINE = 4 };  // pixels whose sums and membranes share L1
#else
enum : I { CELL = TILE, FINE = 0 };
#endif
static inline int32_t finer(int32_t x) {
  return within(x, MOST >> FINE) * (1 << FINE);
}
static inline float finer(float x) { return x; }
#if defined(WHOLE) && defined(FLOAT)
static inline S entered(int32_t sum, const float* unit, I c) { return (float)sum * unit[c]; }
#elif defined(WHOLE)
static inline S entered(int32_t sum, const float*, I) { return bounded(sum); }
#else
static inline S entered(S sum, const float*, I) { return sum; }
#endif

#ifdef BINARY
static inline U mask(const S* y) {
  U bits = 0;
#ifdef __AVX512F__  // 0.0f, which is never negative here, is all zeros as 0 is
  const __m512i lanes = _mm512_loadu_si512(y);
  bits = _mm512_test_epi32_mask(lanes, lanes);
#elif defined(__AVX2__)
  const __m256i none = _mm256_setzero_si256();
  for (int i = 0; i < 16; i += 8) {
    const __m256i silent = _mm256_cmpeq_epi32(_mm256_loadu_si256((const __m256i*)(y + i)), none);
    bits |= (U)(~_mm256_movemask_ps(_mm256_castsi256_ps(silent)) & 0xff) << i;
  }
#else
  for (int i = 0; i < 16; ++i) bits |= (U)(y[i] != 0) << i;
#endif
  return bits;
}
static inline void emit(Word* out, const S* y, I size, const Layer&, Report& r, int shift, U live) {
  const U bits = mask(y) & live;
  *out |= (Word)bits << shift;
  r.events += __builtin_popcount(bits);
}

// a whole block of a pixel
template <int PITCH> static inline void emit_block(Word* out, const S* y, Report& r, int shift) {
  for (int k = 0; k < PITCH; k += 64) {
    Word bits = 0;
    for (int c = 0; c < 64 && k + c < PITCH; c += 16) bits |= (Word)mask(y + k + c) << c;
    r.events += __builtin_popcountll(bits);
    out[k / 64] |= bits << shift;  // a block of less than a word lies in one
  }
}
#else
#ifdef __AVX512F__
static inline __m512i rounded(const float* y, __mmask16* whole) {
  const __m512 x = _mm512_loadu_ps(y);
  const __m512i near = _mm512_cvttps_epi32(x);  // far away or no number: the smallest integer
  *whole = _mm512_cmp_ps_mask(_mm512_cvtepi32_ps(near), x, _CMP_EQ_OQ);
  return near;
}
static inline __m512i rounded(const int32_t* y, __mmask16* whole) {
  *whole = 0xffff;
  return _mm512_loadu_si512(y);
}
static inline void emit(Word* out, const S* y, I size, const Layer& l, Report& r, int shift, U live) {
  __mmask16 whole;
  const __m512i x = rounded(y, &whole), most = _mm512_set1_epi32(127), a = _mm512_abs_epi32(x);
  const __mmask16 some = _mm512_mask_test_epi32_mask((__mmask16)live, x, x), lost = (__mmask16)live & (~whole | _mm512_cmpgt_epu32_mask(a, most));
  if (lost) r.broken = 1;
  if (!some || lost) return;
  const __mmask16 below = _mm512_mask_cmplt_epi32_mask(some, x, _mm512_setzero_si512());
  r.largest = greater(r.largest, (I)_mm512_mask_reduce_max_epi32(some, a));
  r.negative |= below != 0;
  for (I p = 0; p < l.planes; ++p) {
    const U bits = _mm512_mask_test_epi32_mask(some, a, _mm512_set1_epi32(1 << p));
    out[p * size] |= (Word)bits << shift;
    r.events += __builtin_popcount(bits);
  }
  if (l.sign) out[l.planes * size] |= (Word)below << shift;
}
#elif defined(__AVX2__)
static inline __m256i rounded(const float* y, U* whole) {
  const __m256 x = _mm256_loadu_ps(y);
  const __m256i near = _mm256_cvttps_epi32(x);
  *whole = (U)_mm256_movemask_ps(_mm256_cmp_ps(_mm256_cvtepi32_ps(near), x, _CMP_EQ_OQ));
  return near;
}
static inline __m256i rounded(const int32_t* y, U* whole) {
  *whole = 0xff;
  return _mm256_loadu_si256((const __m256i*)y);
}
static inline U signs(__m256i x) { return (U)_mm256_movemask_ps(_mm256_castsi256_ps(x)); }
static inline void emit(Word* out, const S* y, I size, const Layer& l, Report& r, int shift, U live) {
  for (int i = 0; i < 16; i += 8) {
    U whole;
    const __m256i x = rounded(y + i, &whole), a = _mm256_abs_epi32(x), none = _mm256_setzero_si256();
    const U here = live >> i & 0xff, some = here & ~signs(_mm256_cmpeq_epi32(x, none));
    if (here & ~(whole & signs(_mm256_cmpeq_epi32(_mm256_and_si256(a, _mm256_set1_epi32(~127)), none)))) r.broken = 1;
    if (!some || r.broken) continue;
    for (I p = 0; p < 7; ++p) {
      const U bits = signs(_mm256_sllv_epi32(a, _mm256_set1_epi32((int)(31 - p)))) & some;
      if (!bits) continue;
      r.largest |= (I)1 << p;
      r.events += __builtin_popcount(bits);
      if (p < l.planes) out[p * size] |= (Word)bits << (shift + i);
    }
    const U below = signs(x) & some;
    r.negative |= below != 0;
    if (l.sign) out[l.planes * size] |= (Word)below << (shift + i);
  }
}
#else
static inline void emit(Word* out, const S* y, I size, const Layer& l, Report& r, int shift, U live) {
  for (int i = 0; i < 16; ++i) {
    if (!(live >> i & 1) || y[i] == 0) continue;
    const S a = y[i] < 0 ? -y[i] : y[i];
    if (!(a < 128) || a != (S)(int)a) { r.broken = 1; continue; }
    r.largest = greater(r.largest, (I)a);
    r.negative |= y[i] < 0;
    r.events += __builtin_popcount((U)a);
    for (I p = 0; p < l.planes; ++p) out[p * size] |= (Word)((int)a >> p & 1) << (shift + i);
    if (l.sign) out[l.planes * size] |= (Word)(y[i] < 0) << (shift + i);
  }
}
#endif
#endif

template <class K, int V> static void walk(const Layer& l, const Term* terms, const Inputs* inputs, const Piece& p, I b, const void* const* at, Report& report) {
  typedef typename K::Sum C;
  enum : I { PITCH = V * K::WIDTH };
  const C* const base = (const C*)at[0];
  const C* const bias = (const C*)at[1] + b * l.stride;
  Word* const out = (Word*)at[2];
  const C* const none = (const C*)at[3];
  const float* const unit = (const float*)at[4] + b * l.stride;
  void* const* const state = (void* const*)at + FIXED;
  const void* const* const value = at + FIXED + STATES;
  const C* const* const scale = (const C* const*)(at + FIXED + STATES + VALUES);
  const I rows = l.images * l.height, pixels = rows * l.width, words = (l.channels + 63) / 64, size = l.steps * pixels * words;
  const I first = p.r0 * l.width, count = (p.r1 - p.r0) * l.width, c0 = b * l.stride, width = lesser(l.stride, l.channels - c0);
  //each scalar: const S p@ = *(const S*)value[@];
  //each channel: const S* const q@ = (const S*)value[@] + c0;
  alignas(64) C sums[(CELL + ROWS) * PITCH], more[(CELL + ROWS) * PITCH];
  alignas(64) S y[CELL * PITCH];
  bool alone = FINE && !base && l.terms;  // sums of events are all there is, and need no pass of their own
  for (I k = 0; k < l.terms; ++k) alone &= !terms[k].kind;
  const I cell = l.width < CELL ? CELL / l.width * l.width : CELL;  // whole rows where these are short
  for (I t = p.t0; t < p.t1; ++t)
    for (I i = 0; i < count; i += cell) {
      const I m = lesser(cell, count - i);
      bool some = false;
      for (I k = 0; k < l.terms; ++k) {
        if (terms[k].kind) continue;
        const Shape& s = terms[k].shape;
        const char* const w = terms[k].weights + b * slab<K>(s);
        currents<K, V>(some ? more : sums, some || FINE ? none : bias, w, s, inputs[(t - p.t0) * l.terms + k], i, m);
        if (some) for (I j = 0; j < m * PITCH; ++j) sums[j] += more[j];
        some = true;
      }
      if (!some)
        for (I j = 0; j < m; ++j) memcpy(sums + j * PITCH, bias, PITCH * sizeof(C));
      else if (FINE && !alone)
        for (I j = 0; j < m; ++j) for (I c = 0; c < PITCH; ++c) sums[j * PITCH + c] = finer(sums[j * PITCH + c]) + bias[c];
      for (I k = 0; k < l.terms; ++k)
        if (terms[k].kind) same(sums, terms[k], scale[k], t * pixels + first + i, m, c0, (I)PITCH);
      if (base)
        for (I j = 0; j < m; ++j) {
          const C* const from = base + (t * l.baseStep + first + i + j) * l.channels + c0;
          if (width == PITCH) for (I c = 0; c < PITCH; ++c) sums[j * PITCH + c] += from[c];
          else for (I c = 0; c < width; ++c) sums[j * PITCH + c] += from[c];
        }
      //each state: S* __restrict const w@ = (S*)state[@] + b * pixels * l.stride + (first + i) * PITCH;
      for (I j = 0; j < m; ++j) {
#pragma GCC ivdep
        for (I c = 0; c < PITCH; ++c) {
          const I e = j * PITCH + c;
          const S x0 = entered(alone ? finer(sums[e]) + bias[c] : sums[e], unit, c);
          //each state: const S v@ = w@[e];
          //each channel: const S p@ = q@[c];
          //put BODY
          y[e] = y0;
          //each state: w@[e] = bounded(n@);
        }
      }
#ifdef BINARY
      if (width == PITCH) {
        Word* const to = out + (t * pixels + first + i) * words + c0 / 64;
        for (I j = 0; j < m; ++j) emit_block<PITCH>(to + j * words, y + j * PITCH, report, (int)(c0 % 64));
        continue;
      }
#endif
      for (I j = 0; j < m; ++j)
        for (I c = 0; c < width; c += 16) {  // 16 channels never cross a word
          const U live = width - c < 16 ? (1u << (width - c)) - 1 : 0xffff;
          emit(out + (t * pixels + first + i + j) * words + (c0 + c) / 64, y + j * PITCH + c, size, l, report, (int)((c0 + c) % 64), live);
        }
    }
}

// the inputs of a thread stay for the next call
struct Shelf {
  std::unique_ptr<Inputs[]> of;
  I room = 0;
  Inputs* fit(I n) {
    if (n > room) of.reset(new Inputs[room = n]);
    return of.get();
  }
};

// with: Layer, then the addresses of base, bias, out, zeros, unit, states, values and of each term's scale, of the report, then the terms
extern "C" int run(const I* with) {
  const Layer& l = *(const Layer*)with;
  const void* const* const at = (const void* const*)(with + sizeof(Layer) / sizeof(I));
  Report& report = *(Report*)at[FIXED + STATES + VALUES + l.terms];
  const Term* const terms = (const Term*)(at + FIXED + STATES + VALUES + l.terms + 1);
  const I rows = l.images * l.height, pieces = (rows + l.piece - 1) / l.piece, blocks = (l.channels + l.stride - 1) / l.stride;
  const I words = (l.channels + 63) / 64;
  I failed = 0, largest = 0, negative = 0, broken = 0, events = 0;
  bool tiled = false;
  for (I k = 0; k < l.terms; ++k) tiled |= !terms[k].kind && terms[k].shape.parts == BY_TILES;
#pragma omp parallel for num_threads((int)l.threads) schedule(dynamic, 1) reduction(| : failed, negative, broken) reduction(max : largest) reduction(+ : events)
  for (I n = 0; n < pieces; ++n) {
    static thread_local Shelf shelf;
    Inputs* const inputs = shelf.fit(l.span * l.terms);
    Report mine = {0, 0, 0, 0};
    const Claim claim(tiled);
    Piece p = {n * l.piece, lesser(rows, (n + 1) * l.piece), 0, 0};
    for (I q = 0; q < l.planes + l.sign; ++q)
      for (I t = 0; t < l.steps; ++t)
        memset((Word*)at[2] + ((q * l.steps + t) * rows + p.r0) * l.width * words, 0, (p.r1 - p.r0) * l.width * words * sizeof(Word));
    for (; p.t0 < l.steps && !failed; p.t0 = p.t1) {
      p.t1 = lesser(l.steps, p.t0 + l.span);
      for (I t = p.t0; t < p.t1; ++t)
        for (I k = 0; k < l.terms; ++k)
          if (!terms[k].kind && !inputs[(t - p.t0) * l.terms + k].make<KIND>(
                terms[k].shape, terms[k].words, 0, t * rows + p.r0, t * rows + p.r1))
            failed = 1;
      if (failed) break;
      for (I b = 0; b < blocks; ++b) {
        const I width = lesser(l.stride, l.channels - b * l.stride);
        (width > KIND::WIDTH ? walk<KIND, 2> : walk<KIND, 1>)(l, terms, inputs, p, b, at, mine);
      }
    }
    largest = greater(largest, mine.largest);
    negative |= mine.negative;
    broken |= mine.broken;
    events += mine.events;
  }
  report = {largest, negative, broken, events};
  return (int)failed;
}
