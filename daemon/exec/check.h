/* `reid-train --check-only`: can this job run here? Run as a process of its own, so that no fault
 * of an engine reaches the daemon. Loop thread only. */
#ifndef REIDD_EXEC_CHECK_H
#define REIDD_EXEC_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/status.h"
#include "daemon/access/account.h"

typedef struct reidd_check reidd_check;

typedef struct reidd_check_spec {
    const reidd_account *as; /* whose process it is, started by `shim`; NULL: the daemon's own */
    const char *shim, *trainer;
    const char *config_path;
    const char *folder; /* to run in */
    int ranks;
    bool resume, eval_only;
    const char *fork_from; /* OUTPUT_DIR of another job; NULL: none */
    int64_t fork_iter;     /* 0: its last checkpoint */
    uint64_t timeout_ms;
} reidd_check_spec;

/* `result->code` is OK; PRECONDITION with the trainer's own sentence (it ended with 2); TIMEOUT; or
 * INTERNAL (it crashed, or ended in another way). Called once, from the loop, unless the check is
 * cancelled; the check is gone afterwards. */
typedef void reidd_check_on_done(const reid_error *result, void *user);

reid_status reidd_check_start(uv_loop_t *loop, const reidd_check_spec *spec,
                              reidd_check_on_done *on_done, void *user, reidd_check **ret_check,
                              reid_error *err);
/* Kills the process; on_done is not called. */
void reidd_check_cancel(reidd_check *check);

#endif
