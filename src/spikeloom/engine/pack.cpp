// Small whole numbers in a few bits each. The head of scan.cpp comes before this text. Element j + k * length of x is bits
// k * BITS ... of byte j of the code.
enum : I { PIECE = 4096 };

// with: n, threads, the address of x. Returns the largest of x if all are whole numbers from 0 to 15 (and none is -0), else -1
extern "C" int levels(const I* with) {
  const I n = with[0], pieces = (n + PIECE - 1) / PIECE;
  const X* const x = (const X*)with[2];
  int top = 0, bad = 0;
#pragma omp parallel for num_threads(n > 65536 ? (int)with[1] : 1) schedule(static) reduction(max : top) reduction(| : bad)
  for (I p = 0; p < pieces; ++p) {
    if (bad) continue;
    const X* __restrict const from = x + p * PIECE;
    const I m = lesser(PIECE, n - p * PIECE);
    int most = 0, wrong = 0;
    for (I i = 0; i < m; ++i) {
      const S v = get(from[i]), in = v >= 0 && v <= 15 ? v : S(0);
      const int32_t c = (int32_t)in;
      wrong |= (v != (S)c) | (__builtin_signbit(v) != 0);
      most = c > most ? c : most;
    }
    top = most > top ? most : top;
    bad |= wrong;
  }
  return bad ? -1 : top;
}

// with: n, threads, bits, the addresses of x and of the code
extern "C" int pack(const I* with) {
  const I n = with[0], bits = with[2], per = 8 / bits, length = (n + per - 1) / per, pieces = (length + PIECE - 1) / PIECE;
  const X* const x = (const X*)with[3];
  uint8_t* const code = (uint8_t*)with[4];
#pragma omp parallel for num_threads(n > 65536 ? (int)with[1] : 1) schedule(static)
  for (I p = 0; p < pieces; ++p) {
    const I j0 = p * PIECE, m = lesser(PIECE, length - j0);
    uint8_t* __restrict const to = code + j0;
    for (I k = 0; k < per; ++k) {
      const X* __restrict const from = x + k * length + j0;
      const I here = lesser(m, n - (k * length + j0));
      const int shift = (int)(k * bits);
      if (!k) memset(to, 0, m);
      for (I i = 0; i < here; ++i) to[i] |= (uint8_t)((int32_t)get(from[i]) << shift);
    }
  }
  return 0;
}

// with: n, threads, bits, the addresses of x and of the code
extern "C" int unpack(const I* with) {
  const I n = with[0], bits = with[2], per = 8 / bits, length = (n + per - 1) / per, pieces = (length + PIECE - 1) / PIECE;
  X* const x = (X*)with[3];
  const uint8_t* const code = (const uint8_t*)with[4];
#pragma omp parallel for num_threads(n > 65536 ? (int)with[1] : 1) schedule(static)
  for (I p = 0; p < pieces; ++p) {
    const I j0 = p * PIECE, m = lesser(PIECE, length - j0);
    const uint8_t* __restrict const from = code + j0;
    for (I k = 0; k < per; ++k) {
      X* __restrict const to = x + k * length + j0;
      const I here = lesser(m, n - (k * length + j0));
      const int shift = (int)(k * bits), mask = (1 << bits) - 1;
      for (I i = 0; i < here; ++i) to[i] = put((S)(from[i] >> shift & mask));
    }
  }
  return 0;
}
