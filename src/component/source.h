/* source.h — where types come from that no build knows: a source finds them when it is opened and
 * adds their tables to the registry; pluggable components are found in this way.
 * Owner:  the tables are the source's; it is closed after the last instance of its types.
 * Thread: open and close run in a fiber of worker 0, before and after all components.
 * Failure: what can't be used is told in the log and left out; open fails for want of memory only.
 */
#pragma once

#include "component/component.h"

struct source_ops {
    struct component_type t; /* kind "source": open adds types, close takes them back */
};
