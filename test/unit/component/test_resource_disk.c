#include "load.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct folder {
    char path[128];
};

static void folder_new(struct folder *f)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(f->path, sizeof f->path, "%s/proa-disk-XXXXXX", tmp ? tmp : "/tmp");
    REQUIRE(mkdtemp(f->path));
}

static const char *inside(const struct folder *f, const char *name)
{
    static char path[4][256];
    static int at;
    at = (at + 1) % 4;
    snprintf(path[at], sizeof path[at], "%s/%s", f->path, name);
    return path[at];
}

static void put(const struct folder *f, const char *name, const char *text)
{
    FILE *file = fopen(inside(f, name), "we");
    REQUIRE(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void component(const struct folder *f, const char *file, const char *name)
{
    char text[256];
    snprintf(text, sizeof text,
             "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: %s}\n"
             "spec: {type: state.x, version: v1}\n",
             name);
    put(f, file, text);
}

static struct resources *load_paths(const char *const *path, size_t n, const char *const *config,
                                    size_t n_configs)
{
    struct resource_options opt = load_defaults;
    struct resources *r = NULL;
    opt.path = path;
    opt.n_paths = n;
    opt.config = config;
    opt.n_configs = n_configs;
    REQUIRE(resources_load(&opt, &r, NULL) == 0);
    return r;
}

TEST(yaml_files_of_a_folder_load_by_name_and_not_deeper)
{
    struct folder f;
    folder_new(&f);
    component(&f, "b.yml", "second");
    component(&f, "a.yaml", "first");
    put(&f, "readme.txt", "hello");
    REQUIRE(mkdir(inside(&f, "sub.yaml"), 0700) == 0);
    component(&f, "sub.yaml/c.yaml", "deeper");
    const char *path[] = { f.path };
    struct resources *r = load_paths(path, 1, NULL, 0);
    CHECK(!r->fatal, "%s", r->fatal);
    REQUIRE(r->n_components == 2);
    CHECK_STR(r->component[0].head.name, "first");
    CHECK_STR(r->component[1].head.name, "second");
    CHECK_TEXT(r->component[1].head.file, inside(&f, "b.yml"));
    REQUIRE(r->diags.n == 1);
    CHECK_TEXT(r->diags.v[0].file, inside(&f, "readme.txt"));
    CHECK_TEXT(r->diags.v[0].text, "is not loaded: names of resource files end in .yaml or .yml");
    resources_unref(r);
    unlink(inside(&f, "sub.yaml/c.yaml"));
    rmdir(inside(&f, "sub.yaml"));
    unlink(inside(&f, "a.yaml"));
    unlink(inside(&f, "b.yml"));
    unlink(inside(&f, "readme.txt"));
    rmdir(f.path);
}

TEST(several_paths_and_a_lone_file_load_in_order)
{
    struct folder f, g;
    folder_new(&f);
    folder_new(&g);
    component(&f, "z.yaml", "one");
    component(&g, "a.yaml", "two");
    const char *path[] = { inside(&f, "z.yaml"), g.path };
    struct resources *r = load_paths(path, 2, NULL, 0);
    REQUIRE(r->n_components == 2);
    CHECK_STR(r->component[0].head.name, "one");
    resources_unref(r);
    unlink(inside(&f, "z.yaml"));
    unlink(inside(&g, "a.yaml"));
    rmdir(f.path);
    rmdir(g.path);
}

TEST(missing_folder_is_fatal)
{
    const char *path[] = { "/nonexistent/proa" };
    struct resources *r = load_paths(path, 1, NULL, 0);
    REQUIRE(r->fatal);
    CHECK_TEXT(r->fatal, "open /nonexistent/proa: no such file or directory");
    resources_unref(r);
}

TEST(missing_configuration_is_fatal)
{
    const char *config[] = { "/nonexistent/config.yaml" };
    struct resources *r = load_paths(NULL, 0, config, 1);
    REQUIRE(r->fatal);
    CHECK_TEXT(r->fatal, "error loading configuration: /nonexistent/config.yaml: no such file or "
                         "directory");
    resources_unref(r);
}

TEST(unreadable_and_odd_files_are_skipped_with_a_word)
{
    struct folder f;
    folder_new(&f);
    REQUIRE(symlink("/nonexistent/x", inside(&f, "dangling.yaml")) == 0);
    REQUIRE(mkfifo(inside(&f, "pipe.yaml"), 0600) == 0);
    component(&f, "ok.yaml", "ok");
    const char *path[] = { f.path };
    struct resources *r = load_paths(path, 1, NULL, 0);
    CHECK(!r->fatal);
    CHECK_EQ(r->n_components, 1);
    REQUIRE(r->diags.n == 2);
    CHECK_TEXT(r->diags.v[0].text, "can't be read: no such file or directory");
    CHECK_TEXT(r->diags.v[1].text, "can't be read: it is no regular file");
    resources_unref(r);
    unlink(inside(&f, "dangling.yaml"));
    unlink(inside(&f, "pipe.yaml"));
    unlink(inside(&f, "ok.yaml"));
    rmdir(f.path);
}

TEST(too_large_a_file_is_refused)
{
    struct folder f;
    folder_new(&f);
    FILE *file = fopen(inside(&f, "big.yaml"), "we");
    REQUIRE(file);
    REQUIRE(ftruncate(fileno(file), RESOURCE_FILE_MAX + MIB(1)) == 0 && fclose(file) == 0);
    const char *path[] = { f.path };
    struct resources *r = load_paths(path, 1, NULL, 0);
    REQUIRE(r->diags.n == 1);
    CHECK_TEXT(r->diags.v[0].text, "can't be read: it is larger than 4 MiB");
    resources_unref(r);
    unlink(inside(&f, "big.yaml"));
    rmdir(f.path);
}
