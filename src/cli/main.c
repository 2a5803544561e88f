/* main.c — one binary, two faces: 'proa <command>', and under the name daprd just the sidecar. */
#include "cli/cli.h"

#include "runtime/runtime.h"

#include <string.h>

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

int main(int argc, char **argv)
{
    if (argc > 0 && strcmp(base_name(argv[0]), "daprd") == 0)
        return runtime_main(argc, argv);
    if (argc > 1 && strcmp(argv[1], "sidecar") == 0) {
        argv[1] = argv[0];
        return runtime_main(argc - 1, argv + 1);
    }
    return cli_main(argc, argv);
}
