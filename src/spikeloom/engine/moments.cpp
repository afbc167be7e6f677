// Statistics per channel of x [rows, C, inner], and their gradient. The head of scan.cpp comes before this text.
enum : I { LANES = 16, CHUNK = 2048 };  // CHUNK rows are one unit of work, so that sums do not depend on the threads

// sums of d and d * d, d = x - k, over at most 64 entries of each lane at a time in S, then in double
static inline void flush(double* to, S* s, S* q, I n) {
  for (I j = 0; j < n; ++j) to[2 * j] += (double)s[j], to[2 * j + 1] += (double)q[j], s[j] = q[j] = 0;
}

// rows of C neighbours: every lane is a channel
static void columns(double* to, const X* x, const S* k, I rows, I C) {
  for (I c0 = 0; c0 < C; c0 += LANES) {
    const I m = lesser(LANES, C - c0);
    S s[LANES] = {0}, q[LANES] = {0};
    for (I r0 = 0; r0 < rows; r0 += 64) {
      for (I r = r0; r < lesser(r0 + 64, rows); ++r) {
        const X* __restrict const row = x + r * C + c0;
        if (m == LANES) for (I j = 0; j < LANES; ++j) { const S d = get(row[j]) - k[c0 + j]; s[j] += d; q[j] += d * d; }
        else for (I j = 0; j < m; ++j) { const S d = get(row[j]) - k[c0 + j]; s[j] += d; q[j] += d * d; }
      }
      flush(to + 2 * c0, s, q, m);
    }
  }
}

// one channel of neighbours: the lanes are added up
static void plane(double* to, const X* x, S k, I n) {
  S s[LANES] = {0}, q[LANES] = {0};
  double lane[2 * LANES] = {0};
  for (I i0 = 0; i0 < n; i0 += 64 * LANES) {
    const I end = lesser(i0 + 64 * LANES, n);
    I i = i0;
    for (; i + LANES <= end; i += LANES)
      for (I j = 0; j < LANES; ++j) { const S d = get(x[i + j]) - k; s[j] += d; q[j] += d * d; }
    for (I j = 0; i < end; ++i, ++j) { const S d = get(x[i]) - k; s[j] += d; q[j] += d * d; }
    flush(lane, s, q, LANES);
  }
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
