/* A control group (version 2) for each attempt, so that nothing of it can get away: whoever forks
 * twice, makes a session of its own, changes its environment and outlives its supervisor is still
 * in there, and ends with it.
 *
 * The groups lie beside each other in the daemon's own one, `OWN/reidd-FOLDER.JOB.N`, where FOLDER
 * stands for the state folder: a daemon that comes back finds those of its predecessor, wherever
 * that was started. No controller is enabled, so the daemon can stay where it is. The shim puts
 * itself in before it gives up privileges (reidd_confine_join); a job that runs as another user
 * cannot leave. Which group an attempt has stands in a file beside its folder, where the job cannot
 * write.
 *
 * Where there is no such group, or none that the daemon may make, attempts have process groups,
 * PDEATHSIG and the shim as subreaper alone; `why` says so.
 *
 * Loop thread only, but for reidd_confine_join.
 */
#ifndef REIDD_EXEC_CONFINE_H
#define REIDD_EXEC_CONFINE_H

#include <stdbool.h>

#include "base/status.h"

typedef struct reidd_confine {
    char *own;    /* folder of the daemon's own group; NULL: attempts have none */
    char *prefix; /* of the names of this daemon's groups */
    char *why;    /* a finished sentence: what holds attempts together */
} reidd_confine;

/* Looks for a group and tries it. `state_dir` must exist. */
void reidd_confine_init(reidd_confine *confine, const char *state_dir);
/* Of another root than "/", with files like the kernel's: NULL where there is no group. */
char *reidd_confine_find_own(const char *root);
void reidd_confine_fini(reidd_confine *confine);
/* Ends the groups that a former daemon has left and that nobody knows any more, and removes empty
 * ones of daemons that are gone. */
void reidd_confine_sweep(const reidd_confine *confine,
                         bool (*is_known)(const char *job, int attempt, void *user), void *user);

/* The path of an attempt's group; caller frees. NULL: none (`confine` NULL, too). */
char *reidd_confine_path(const reidd_confine *confine, const char *job, int attempt);

/* Makes the group, and notes it beside the attempt's folder. */
reid_status reidd_confine_make(const char *folder, const char *group, reid_error *err);
/* That note; caller frees. NULL: none. */
char *reidd_confine_read(const char *folder);
/* Kills what is in the group, and removes it. True when it is gone; otherwise call it again. */
bool reidd_confine_end(const char *group);
/* The attempt is over: removes the note. */
void reidd_confine_forget(const char *folder);

/* Puts this process there, and what it starts from now on. */
reid_status reidd_confine_join(const char *group, reid_error *err);

#endif
