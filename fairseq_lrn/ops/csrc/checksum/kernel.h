// A checksum, for one instruction set. compile_kernel.h includes this file.

typedef uint32_t Bits __attribute__((vector_size(LRN_VECTOR_BYTES)));

// Adds a line of each block to the sums. Every sum is a polynomial in its words, modulo 2^32, at
// kFactor. Blocks take turns with kChains groups of sums, so that none has to wait for the last one.
void checksum(const Region& region, uint32_t* sums) {
  constexpr int64_t size = sizeof(Bits), vectors = kLine / size;
  Bits total[kChains][vectors] = {};
  const int64_t blocks = (region.bytes + region.lines * kLine - 1) / (region.lines * kLine);
  for (int64_t block = 0; block < blocks; ++block) {
    // Into the second-level cache: the processor cannot foresee the scattered lines.
    __builtin_prefetch(region.data + kLine * chosen_line(region, block + kAhead), 0, 2);
    const int64_t offset = kLine * chosen_line(region, block);
    const char* line = region.data + offset;
    char rest[kLine] = {};
    if (offset + kLine > region.bytes) {
      if (offset < region.bytes) std::copy(line, region.data + region.bytes, rest);
      line = rest;
    }
    Bits* chain = total[block % kChains];
    for (int64_t i = 0; i < vectors; ++i) {
      Bits words;
      __builtin_memcpy(&words, line + i * size, size);
      chain[i] = chain[i] * kFactor + words;
    }
  }
  __builtin_memcpy(sums, total, sizeof(total));
}
