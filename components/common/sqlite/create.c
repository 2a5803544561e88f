#include "components/common/sqlite/create.h"

#include "base/id.h"

#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

/* Without a journal: nobody else knows the file yet. */
static bool write_empty(const char *path)
{
    static const char SQL[] = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
                              "PRAGMA journal_mode = WAL";
    sqlite3 *db = NULL;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    bool ok = sqlite3_open_v2(path, &db, flags, NULL) == SQLITE_OK &&
              sqlite3_exec(db, SQL, NULL, NULL, NULL) == SQLITE_OK;
    return sqlite3_close(db) == SQLITE_OK && ok;
}

static bool sync_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && fdatasync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

void sqlite_create_wal(const char *path)
{
    char made[PATH_MAX], id[UUID_LEN + 1] = "";
    if (access(path, F_OK) == 0)
        return;
    id_uuid4(id);
    if (snprintf(made, sizeof made, "%s.new-%s", path, id) >= (int)sizeof made)
        return;
    if (write_empty(made) && sync_file(made))
        (void)!link(made, path); /* somebody was quicker: fine */
    (void)unlink(made);
}
