/* registry.h — the generated list behind registry_find(): written by tools/gen_registry.py from the
 * folders under components/, so that no engine is named anywhere by hand.
 * Owner:  static storage.
 * Thread: any.   Failure: none. */
#pragma once

#include "component/component.h"

extern const struct component_type *const component_list[]; /* NULL-ended */
extern const size_t component_list_n;
