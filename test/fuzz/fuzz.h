/* fuzz.h — what the fuzzers share: a check that ends the run with the place.
 * Owner:  nobody.   Thread: one.   Failure: aborts, which is what libFuzzer looks for. */
#pragma once

#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>

#define FUZZ_CHECK(x)                                                                              \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
