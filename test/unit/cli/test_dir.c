#include "cli/run_dir.h"

#include "test/testing.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    struct arena arena;
    char base[64];
    struct error err;
};

static void begin(struct fixture *f)
{
    *f = (struct fixture){ .base = "/tmp/proa-test-XXXXXX" };
    arena_init(&f->arena, MIB(4));
    REQUIRE(mkdtemp(f->base));
    setenv("XDG_RUNTIME_DIR", f->base, 1);
}

static void end(struct fixture *f)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/proa", f->base);
    CHECK_EQ(rmdir(path), 0, "nothing is left in %s", path);
    CHECK_EQ(rmdir(f->base), 0);
    arena_done(&f->arena);
}

TEST(a_run_is_found_while_it_lives_and_only_then)
{
    struct fixture f;
    begin(&f);
    struct run_dir d;
    struct run_control found[4];
    size_t n = 9;
    CHECK_OK(run_dir_list(&f.arena, found, COUNT(found), &n, &f.err));
    CHECK_EQ(n, 0);
    REQUIRE(run_dir_make(&f.arena, &d, &f.err) == 0, "%s", f.err.text);
    const struct run_control c = {
        .pid = 7, .port = 9400, .name = S("a \"b\""), .token = S("secret")
    };
    CHECK_OK(run_dir_write_control(&d, &c, &f.err));
    CHECK_OK(run_dir_list(&f.arena, found, COUNT(found), &n, &f.err));
    REQUIRE(n == 1);
    CHECK_STR(found[0].name, "a \"b\"");
    CHECK_STR(found[0].token, "secret");
    CHECK_EQ(found[0].port, 9400);
    struct stat st;
    REQUIRE(stat(arena_printf(&f.arena, "%s/control.json", d.path).p, &st) == 0);
    CHECK_EQ(st.st_mode & 0777, 0600);
    REQUIRE(stat(d.path, &st) == 0);
    CHECK_EQ(st.st_mode & 0777, 0700);
    run_dir_remove(&d);
    CHECK_OK(run_dir_list(&f.arena, found, COUNT(found), &n, &f.err));
    CHECK_EQ(n, 0);
    end(&f);
}

TEST(what_dead_runs_left_is_removed_by_the_next)
{
    struct fixture f;
    begin(&f);
    struct run_dir dead, living, next;
    REQUIRE(run_dir_make(&f.arena, &dead, &f.err) == 0);
    REQUIRE(run_dir_make(&f.arena, &living, &f.err) == 0);
    close(dead.lock); /* as the kernel does when a process is killed */
    REQUIRE(run_dir_make(&f.arena, &next, &f.err) == 0);
    CHECK(access(dead.path, F_OK) != 0);
    CHECK_EQ(access(living.path, F_OK), 0);
    run_dir_remove(&living);
    run_dir_remove(&next);
    end(&f);
}

TEST(a_directory_that_others_can_enter_is_refused)
{
    struct fixture f;
    begin(&f);
    struct run_dir d;
    char path[128];
    snprintf(path, sizeof(path), "%s/proa", f.base);
    REQUIRE(mkdir(path, 0700) == 0 && chmod(path, 0755) == 0);
    CHECK_EQ(run_dir_make(&f.arena, &d, &f.err), -DENIED);
    CHECK(str_contains(str_c(f.err.text), S("mode 0700")), "%s", f.err.text);
    end(&f);
}
