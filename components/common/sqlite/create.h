/* create.h — a new database file in WAL mode that appears whole, and sooner than SQLite's own.
 * Owner:  nobody: the file.   Thread: any that may block.
 * Failure: none that counts; SQLite then makes the file itself when it's opened. */
#pragma once

/* Makes the database at path (no URI) if nothing is there. By itself SQLite writes the first page
 * through a rollback journal: four syncs. Here an unsynced file under another name is synced once
 * and then linked to path: a crash leaves no half of a database, and whoever comes second keeps
 * what is there. The directory's own sync is that of the first commit to the WAL beside it. */
void sqlite_create_wal(const char *path);
