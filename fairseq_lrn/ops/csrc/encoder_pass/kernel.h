// The operations between the matrix products and the scans of an encoder, for one instruction set.
// compile_kernel.h includes this file.

#include "../common/add_norm_kernel.h"
