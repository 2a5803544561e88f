/* number.h — decimal numbers as text and back, the same in every locale; private to src/format.
 * Owner:  none.   Thread: any.   Failure: parsing returns false and leaves *ret alone. */
#pragma once

#include "base/str.h"

/* s is [-]digits[.digits][e[±]digits], any length. Integers: exact, so "1.0" and "1e2" are taken.
 */
bool number_i64(str s, int64_t *ret) WUR;
bool number_u64(str s, uint64_t *ret) WUR;
bool number_double(str s, double *ret) WUR; /* correctly rounded; false when it overflows */

enum number_form {
    NUMBER_JSON, /* Go's encoding/json: exponent below 1e-6 and from 1e21, "1e-7" */
    NUMBER_G,    /* Go's 'g' format: exponent below 1e-4 and from 1e21, "1e-07" */
};
enum { NUMBER_MAX = 40 };
/* Shortest text that reads back as d (which is finite). NUL-terminated; returns the length. */
size_t number_print(double d, enum number_form form, char ret[NUMBER_MAX]);
