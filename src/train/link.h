/* The rank's link to its node's daemon: scalars, phase, progress and last words go up one gRPC
 * stream.
 *
 * Rows of scalars (rank 0) are first appended to rank0.spool in the attempt's folder; a thread of
 * the link sends what the daemon has not stored yet. So a daemon that is away costs nothing, a
 * daemon that comes back gets what it missed, and what never went over the wire is read from the
 * spool after the rank has ended. A step never waits for the link.
 *
 * Life: reid_link_open → reid_link_row, _phase, _progress (stepping thread) → reid_link_close. A
 * NULL link (no daemon) is accepted everywhere and does nothing.
 */
#ifndef REID_TRAIN_LINK_H
#define REID_TRAIN_LINK_H

#include <stdint.h>

#include "base/journal.h"
#include "base/status.h"
#include "engine/control.h"
#include "engine/guest/host.h"
#include "engine/guest/remote.h"
#include "events/event_storage.h"
#include "train/job.h"

typedef struct reid_link reid_link;

typedef enum reid_link_phase {
    REID_LINK_LOADING = 1, /* values of reid.v1.JobPhase */
    REID_LINK_TRAINING,
    REID_LINK_EVALUATING,
    REID_LINK_SAVING,
} reid_link_phase;

const char *reid_link_phase_name(reid_link_phase phase); /* "training" */

typedef struct reid_link_progress {
    int64_t iteration, max_iteration; /* finished iterations */
    int64_t epoch, max_epoch;
    double eta_seconds;       /* negative: unknown */
    double images_per_second; /* of all ranks; 0: unknown */
    /* Of this rank, summed over its steps so far: on what their time was spent. */
    int64_t steps;
    double data_s, compute_s, wait_s;
} reid_link_progress;

/* *ret_link is NULL when the environment names no daemon. The connection is made in the background.
 * Requests of the daemon go into `queue` (rank 0; borrowed, NULL elsewhere). */
reid_status reid_link_open(const reid_job_env *env, int rank, int world, reid_control_queue *queue,
                           reid_link **ret_link, reid_error *err);
/* Until a daemon has accepted the link and has sent the requests that waited for it, at most
 * `seconds`. Called before the first step, so that hooks of a job that waited see every point. */
void reid_link_wait(reid_link *link, double seconds);
/* While the spool cannot be written (a full disk) rows wait in memory, up to 64 MiB of them, and
 * the training goes on. */
void reid_link_row(reid_link *link, const reid_event_row *row);
void reid_link_phase_set(reid_link *link, reid_link_phase phase);
void reid_link_progress_set(reid_link *link, const reid_link_progress *progress);
/* Answers to requests. Agreed words are told again to a daemon that has not stored them. */
void reid_link_agreed(reid_link *link, const char *id, const reid_journal_entry *entries,
                      size_t count);
void reid_link_refused(reid_link *link, const char *id, const reid_error *why);
void reid_link_failure(reid_link *link, const char *sentence);

/* ---- hooks from outside; rank 0 ---- */

/* The way of remote hooks; lives as long as the link. NULL without a daemon. Its functions are for
 * the stepping thread, and stay valid while the daemon is away (`wait` says UNAVAILABLE). */
const reid_remote_port *reid_link_remote_port(reid_link *link);
/* The list as it is now, before `iteration`; everything is copied. Cheap enough for every step:
 * what differs only in counters is told at most once a second, a change (a hook more or less,
 * enabled, last_error) at once, and all of it again after the daemon was away. */
void reid_link_hooks(reid_link *link, const reid_guest_info *list, size_t count, int64_t iteration);
/* A sentence for the job's events; `guest` 0: not of a hook. Kept until it is sent; of more than 64
 * that wait the oldest go. */
void reid_link_note(reid_link *link, int64_t guest, const char *sentence);

/* Waits up to `wait_seconds` for the daemon to have stored everything, and ends the stream. The
 * link then takes nothing more, but hooks of clients may still hold its port. */
void reid_link_finish(reid_link *link, double wait_seconds);
/* Finishes and frees the link. */
void reid_link_close(reid_link *link, double wait_seconds);

#endif
