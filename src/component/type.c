#include "component/component.h"

static bool has_type(const struct component_type *t, str type)
{
    if (str_ieq(str_c(t->type), type))
        return true;
    for (const char *const *alias = t->aliases; alias && *alias; alias++)
        if (str_ieq(str_c(*alias), type))
            return true;
    return false;
}

/* "", "v0" and "v1" all mean the first version that an engine had. */
static bool is_initial(str version)
{
    return !version.n || str_ieq(version, S("v0")) || str_ieq(version, S("v1"));
}

static bool has_version(const struct component_type *t, str version)
{
    str own = str_c(t->version);
    return is_initial(version) ? is_initial(own) : str_ieq(own, version);
}

bool type_is(const struct component_type *t, str type, str version)
{
    return has_type(t, type) && has_version(t, version);
}
