// Statistics per channel of x [rows, C, inner], and their gradient. The head of scan.cpp comes before this text.
enum : I { LANES = 16, CHUNK = 2048 };  // CHUNK rows are one unit of work, so that sums do not depend on the threads
typedef S Lanes __attribute__((vector_size(LANES * sizeof(S))));

static inline Lanes load(const X* p) {
  Lanes f;
#if defined(BFLOAT16)
  typedef uint16_t Half __attribute__((vector_size(LANES * 2)));
  typedef uint32_t Word __attribute__((vector_size(LANES * 4)));
  Half h; memcpy(&h, p, sizeof(h));
  const Word w = __builtin_convertvector(h, Word) << 16;
  memcpy(&f, &w, sizeof(f));
#elif defined(HALF)
  typedef _Float16 Half __attribute__((vector_size(LANES * 2)));
  Half h; memcpy(&h, p, sizeof(h));
  f = __builtin_convertvector(h, Lanes);
#else
  memcpy(&f, p, sizeof(f));
#endif
  return f;
}

// sums of d and d * d, d = x - k: in S over at most 64 numbers, then in double
static inline void flush(double* to, Lanes s, Lanes q) {
  for (I j = 0; j < LANES; ++j) to[2 * j] += (double)s[j], to[2 * j + 1] += (double)q[j];
}

// rows of C neighbours: every lane is a channel
static void columns(double* to, const X* x, const S* k, I rows, I C) {
  for (I r0 = 0; r0 < rows; r0 += 64) {
    const I r1 = lesser(r0 + 64, rows);
    I c = 0;
    for (; c + LANES <= C; c += LANES) {
      Lanes center, s[2] = {}, q[2] = {};
      memcpy(&center, k + c, sizeof(center));
      I r = r0;
      for (; r + 2 <= r1; r += 2)
        for (I j = 0; j < 2; ++j) { const Lanes d = load(x + (r + j) * C + c) - center; s[j] += d; q[j] += d * d; }
      for (; r < r1; ++r) { const Lanes d = load(x + r * C + c) - center; s[0] += d; q[0] += d * d; }
      flush(to + 2 * c, s[0] + s[1], q[0] + q[1]);
    }
    for (I r = r0; r < r1; ++r)
      for (I j = c; j < C; ++j) { const double d = (double)(get(x[r * C + j]) - k[j]); to[2 * j] += d; to[2 * j + 1] += d * d; }
  }
}

// n neighbours of one channel
static void plane(double* to, const X* x, S k, I n) {
  double lane[2 * LANES] = {0};
  I i = 0;
  while (i + LANES <= n) {
    const I end = lesser(i + 64 * LANES, n);
    Lanes s[2] = {}, q[2] = {};
    for (; i + 2 * LANES <= end; i += 2 * LANES)
      for (I j = 0; j < 2; ++j) { const Lanes d = load(x + i + j * LANES) - k; s[j] += d; q[j] += d * d; }
    for (; i + LANES <= end; i += LANES) { const Lanes d = load(x + i) - k; s[0] += d; q[0] += d * d; }
    flush(lane, s[0] + s[1], q[0] + q[1]);
  }
  for (; i < n; ++i) { const double d = (double)(get(x[i]) - k); to[0] += d; to[1] += d * d; }
  for (I j = 0; j < LANES; ++j) to[0] += lane[2 * j], to[1] += lane[2 * j + 1];
}

// with: rows, C, inner, threads, then the addresses of x, mean [C], variance [C] (of the population)
extern "C" int moments(const I* with) {
  const I rows = with[0], C = with[1], inner = with[2];
  const X* const x = (const X*)with[4];
  const I unit = inner > 1 ? (CHUNK + inner - 1) / inner : CHUNK, chunks = (rows + unit - 1) / unit;
  double* const part = (double*)calloc((chunks + 1) * 2 * C, sizeof(double));
  S* const k = (S*)malloc(C * sizeof(S));
  if (!part || !k) { free(part); free(k); return 1; }
  for (I c = 0; c < C; ++c) k[c] = get(x[c * inner]);  // sums around any value near the mean do not cancel
#pragma omp parallel for num_threads(rows * C * inner > 32768 ? (int)with[3] : 1) schedule(static)
  for (I u = 0; u < chunks; ++u) {
    double* const to = part + u * 2 * C;
    const I r0 = u * unit, r1 = lesser(r0 + unit, rows);
    if (inner == 1) columns(to, x + r0 * C, k, r1 - r0, C);
    else for (I r = r0; r < r1; ++r) for (I c = 0; c < C; ++c) plane(to + 2 * c, x + (r * C + c) * inner, k[c], inner);
  }
  double* const sum = part + chunks * 2 * C;
  for (I u = 0; u < chunks; ++u) for (I j = 0; j < 2 * C; ++j) sum[j] += part[u * 2 * C + j];
  const double n = (double)rows * (double)inner;
  for (I c = 0; c < C; ++c) {
    const double s = sum[2 * c] / n, v = sum[2 * c + 1] / n - s * s;
    ((S*)with[5])[c] = (S)((double)k[c] + s);
    ((S*)with[6])[c] = (S)(v > 0 || v != v ? v : 0);
  }
  free(part); free(k);
  return 0;
}

// with: rows, C, inner, threads, then the addresses of g, x, a [C], b [C]: g += a + b x
extern "C" int adjust(const I* with) {
  const I rows = with[0], C = with[1], inner = with[2], N = rows * C * inner;
  X* const g = (X*)with[4];
  const X* const x = (const X*)with[5];
  const S* const a = (const S*)with[6];
  const S* const b = (const S*)with[7];
  const I unit = inner > 1 ? inner : C * ((CHUNK + C - 1) / C), units = (N + unit - 1) / unit;
  S* const wide = (S*)malloc(2 * unit * sizeof(S));  // a and b of one unit
  if (!wide) return 1;
  if (inner == 1) spread(wide, a, 0, unit, 1, C), spread(wide + unit, b, 0, unit, 1, C);
#pragma omp parallel for num_threads(N > 32768 ? (int)with[3] : 1) schedule(static)
  for (I u = 0; u < units; ++u) {
    const I m = lesser(unit, N - u * unit);
    X* __restrict const gu = g + u * unit;
    const X* __restrict const xu = x + u * unit;
    if (inner == 1) for (I i = 0; i < m; ++i) gu[i] = put(get(gu[i]) + (wide[i] + wide[unit + i] * get(xu[i])));
    else for (I i = 0; i < m; ++i) gu[i] = put(get(gu[i]) + (a[u % C] + b[u % C] * get(xu[i])));
  }
  free(wide);
  return 0;
}
