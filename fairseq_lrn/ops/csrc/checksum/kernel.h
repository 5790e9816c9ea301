// A checksum, for one instruction set. compile_kernel.h includes this file.

typedef uint32_t Bits __attribute__((vector_size(LRN_VECTOR_BYTES)));

// Adds `bytes` bytes to four vectors of sums. Every lane is a polynomial in its words, modulo 2^32, at
// kFactor.
void checksum(const char* data, int64_t bytes, uint32_t* sums) {
  constexpr int64_t size = sizeof(Bits), block = 4 * size;
  Bits total[4] = {};
  int64_t offset = 0;
  for (; offset + block <= bytes; offset += block) {
    for (int64_t i = 0; i < 4; ++i) {
      Bits words;
      __builtin_memcpy(&words, data + offset + i * size, size);
      total[i] = total[i] * kFactor + words;
    }
  }
  char rest[block] = {};
  std::copy(data + offset, data + bytes, rest);
  for (int64_t i = 0; i < 4; ++i) {
    Bits words;
    __builtin_memcpy(&words, rest + i * size, size);
    total[i] = total[i] * kFactor + words;
  }
  __builtin_memcpy(sums, total, sizeof(total));
}
