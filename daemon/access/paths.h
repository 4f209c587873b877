/* Where jobs may read and write, and what may be loaded into them. Links are followed as far as
 * they are there, so that a name within a folder does not lead out of it. These are rules against
 * mistakes and against jobs of one account in each other's way; rights are the file system's.
 * Thread-safe. */
#ifndef REIDD_ACCESS_PATHS_H
#define REIDD_ACCESS_PATHS_H

#include "base/status.h"

/* `roots` are absolute folders with colons between. INVALID when one is not absolute or has no
 * name. */
reid_status reidd_paths_check_roots(const char *option, const char *roots, reid_error *err);

/* PERMISSION when `path`, which `what` names ("OUTPUT_DIR"), is not in one of the roots. What does
 * not exist yet is judged by its nearest folder that does. `roots` NULL: everything is allowed. */
reid_status reidd_paths_check(const char *option, const char *roots, const char *what,
                              const char *path, reid_error *err);

/* PERMISSION when somebody but root and this process's user owns the folder or may write into it.
 * One that is not there yet is nobody's. */
reid_status reidd_paths_check_trusted(const char *option, const char *folder, reid_error *err);

#endif
