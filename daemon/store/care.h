/* Looking after the store: whether its file is sound, and a copy of it. For a file that a reidd
 * uses at the moment, too.
 *
 * To put a copy back: stop reidd, move reidd.db, reidd.db-wal and reidd.db-shm away, and copy the
 * backup to reidd.db. Jobs that were submitted after it are not known then; their folders stay.
 */
#ifndef REIDD_STORE_CARE_H
#define REIDD_STORE_CARE_H

#include "base/status.h"

/* Reads every page and every index. *ret_text is a line about what is in it; caller frees. CORRUPT
 * names the first thing that is wrong. */
reid_status reidd_store_check(const char *path, char **ret_text, reid_error *err);
/* A copy of the store as it is now, complete and on the disk when this returns. EXISTS when
 * `target` is there. */
reid_status reidd_store_backup(const char *path, const char *target, reid_error *err);

#endif
