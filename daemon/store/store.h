/* What the daemon must not forget: jobs, attempts, events, metric rows. One SQLite file (WAL).
 *
 * Life: reidd_store_open (creates the file, or brings an older one up to date) → the calls below →
 * reidd_store_close. One thread. A file written by a newer version is refused (UNSUPPORTED), one
 * that is something else too (CORRUPT).
 *
 * Durability: what job, attempt and event calls have written is on the disk when they return. Rows
 * are written in batches that are not durable (reidd_store_begin); a committed batch survives the
 * death of the daemon, and a power cut at the latest a moment after (the rank's spool has the rows
 * as well).
 *
 * Errors: EXHAUSTED when the disk (or a quota) is full, and nothing of the call or batch was
 * written then; CORRUPT, IO, PERMISSION, UNAVAILABLE (somebody else holds the file) with SQLite's
 * words.
 */
#ifndef REIDD_STORE_STORE_H
#define REIDD_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "daemon/job/job.h"

typedef struct reidd_store reidd_store;

reid_status reidd_store_open(const char *path, reidd_store **ret_store, reid_error *err);
void reidd_store_close(reidd_store *store);       /* rolls back an open batch; NULL is accepted */
int reidd_store_schema(const reidd_store *store); /* version of the tables, from 1 */

/* ---- batches ---- */

/* Everything until _commit is one transaction, on the disk when `durable`. Batches do not nest. */
reid_status reidd_store_begin(reidd_store *store, bool durable, reid_error *err);
/* On failure nothing of the batch is stored and it is over. */
reid_status reidd_store_commit(reidd_store *store, reid_error *err);
void reidd_store_rollback(reidd_store *store); /* no batch: nothing happens */

/* ---- jobs ---- */

/* EXISTS when there is a job of this id. */
reid_status reidd_store_job_add(reidd_store *store, const reidd_job *job, reid_error *err);
/* Everything that can change (state, progress, failure, …). Within a batch it is as durable as the
 * batch. */
reid_status reidd_store_job_save(reidd_store *store, const reidd_job *job, reid_error *err);
/* NOT_FOUND when there is none. Free with reidd_job_fini. */
reid_status reidd_store_job_load(reidd_store *store, const char *id, reidd_job *ret_job,
                                 reid_error *err);
/* Finds by whole id, else the newest job of that name, else unique prefix of an id. NOT_FOUND, or
 * INVALID with the candidates named when the prefix is not unique. */
reid_status reidd_store_job_find(reidd_store *store, const char *key, char ret_id[16],
                                 reid_error *err);
/* Calls `each` for at most `limit` jobs whose state's bit (1 << state) is in `states`. The job is
 * freed after the callback. Newest first, those older than `before` (NULL: from the newest on). */
reid_status reidd_store_job_list(reidd_store *store, unsigned states, int64_t limit,
                                 const char *before, void (*each)(const reidd_job *job, void *user),
                                 void *user, reid_error *err);
/* All of them, oldest first. */
reid_status reidd_store_job_each(reidd_store *store, unsigned states,
                                 void (*each)(const reidd_job *job, void *user), void *user,
                                 reid_error *err);
/* The largest id ever given, also to a job that was removed; "" when there is none. */
reid_status reidd_store_job_last_id(reidd_store *store, char ret_id[16], reid_error *err);

/* The configuration of a job, kept beside its file so that this database alone is enough to go on
 * with the queue elsewhere. */
reid_status reidd_store_config_add(reidd_store *store, const char *id, const char *yaml,
                                   reid_error *err);
/* Caller frees. NOT_FOUND when there is none, as with jobs of earlier versions. */
reid_status reidd_store_config_load(reidd_store *store, const char *id, char **ret_yaml,
                                    reid_error *err);

/* ---- removing jobs that have ended (prune.h) ---- */

/* How many there are. */
reid_status reidd_store_ended_count(reidd_store *store, int64_t *ret_count, reid_error *err);
/* Calls `each` for them, the one that ended first comes first, until it returns false. */
reid_status reidd_store_ended_each(reidd_store *store,
                                   bool (*each)(const char *id, int64_t ended_ms, void *user),
                                   void *user, reid_error *err);
/* From now on the job is not there for anybody; what it has left waits for _sweep. NOT_FOUND when
 * no ended job has this id. */
reid_status reidd_store_job_remove(reidd_store *store, const char *id, reid_error *err);
/* One whose rows wait for that; "" when none does. */
reid_status reidd_store_removed_next(reidd_store *store, char ret_id[16], reid_error *err);
bool reidd_store_is_removed(reidd_store *store, const char *id);
/* Deletes about so many of its rows, not durably; *ret_done: nothing is left of it. Its id is not
 * given again. What its attempts used stays for _usage_each if they ended after `usage_since_ms`,
 * and what was kept of older ones goes. */
reid_status reidd_store_sweep(reidd_store *store, const char *id, int rows, int64_t usage_since_ms,
                              bool *ret_done, reid_error *err);

/* ---- attempts and events ---- */

/* `ticket` is the secret that the attempt's ranks show. An attempt that is there gets a new one. */
reid_status reidd_store_attempt_add(reidd_store *store, const char *job_id, int attempt,
                                    const char *ticket, int64_t started_ms, reid_error *err);
/* Caller frees. NOT_FOUND when there is no such attempt. */
reid_status reidd_store_attempt_ticket(reidd_store *store, const char *job_id, int attempt,
                                       char **ret_ticket, reid_error *err);
reid_status reidd_store_attempt_end(reidd_store *store, const char *job_id, int attempt,
                                    const reidd_end *end, reid_error *err);
/* Attempts that ended after this time, in that order, also those of removed jobs. The user's name
 * is valid during the call only. */
reid_status reidd_store_usage_each(reidd_store *store, int64_t since_ms,
                                   void (*each)(const char *user, int slots, int64_t started_ms,
                                                int64_t ended_ms, void *arg),
                                   void *arg, reid_error *err);
/* The job's diary: `kind` is a word such as "state" or "cancel". */
reid_status reidd_store_event_add(reidd_store *store, const char *job_id, int attempt,
                                  int64_t wall_ms, const char *kind, const char *detail,
                                  reid_error *err);
reid_status reidd_store_event_list(reidd_store *store, const char *job_id,
                                   void (*each)(int attempt, int64_t wall_ms, const char *kind,
                                                const char *detail, void *user),
                                   void *user, reid_error *err);
/* One line of a diary. */
typedef struct reidd_event {
    int64_t number; /* rising, unique in this store */
    int attempt;
    int64_t wall_ms;
    const char *kind, *detail;
} reidd_event;
/* Calls `each` for the lines after number `after`, in order, until it returns false. The texts are
 * valid during the call only. */
reid_status reidd_store_event_each(reidd_store *store, const char *job_id, int64_t after,
                                   bool (*each)(const reidd_event *event, void *user), void *user,
                                   reid_error *err);

/* ---- metric rows ---- */

/* `row` is a packed reid.v1.MetricRow. A row that is there already is left as it is. */
reid_status reidd_store_row_add(reidd_store *store, const char *job_id, int attempt, int64_t seq,
                                const void *row, size_t size, reid_error *err);
/* The last row of an attempt; 0 when there is none. */
reid_status reidd_store_row_last(reidd_store *store, const char *job_id, int attempt,
                                 int64_t *ret_seq, reid_error *err);
/* Rises with every row that is added: what was read at the same count is not out of date. */
uint64_t reidd_store_row_adds(const reidd_store *store);
/* Calls `each` for the rows after the cursor (attempt, seq), in order, until it returns false. The
 * bytes are valid during the call only. */
reid_status reidd_store_row_each(reidd_store *store, const char *job_id, int attempt, int64_t seq,
                                 bool (*each)(int attempt, int64_t seq, const void *row,
                                              size_t size, void *user),
                                 void *user, reid_error *err);
/* The newest value of a metric. */
reid_status reidd_store_latest_set(reidd_store *store, const char *job_id, const char *name,
                                   double value, reid_error *err);
/* In the order of names. */
reid_status reidd_store_latest_each(reidd_store *store, const char *job_id,
                                    void (*each)(const char *name, double value, void *user),
                                    void *user, reid_error *err);

/* ---- nodes ---- */

/* What is remembered of a node. Texts are never NULL; those that `each` is given are its own only.
 */
typedef struct reidd_store_node {
    const char *name;
    int slots;
    const char *gpu_type; /* "": none */
    bool drained;
    const char *reason, *who;
    int64_t wall_ms; /* of the change */
} reidd_store_node;
reid_status reidd_store_node_save(reidd_store *store, const reidd_store_node *node,
                                  reid_error *err);
reid_status reidd_store_node_each(reidd_store *store,
                                  void (*each)(const reidd_store_node *node, void *user),
                                  void *user, reid_error *err);

/* The head that this store belongs to, or that this node has followed last, and its generation
 * (daemon/cluster/succession.h). NULL and 0 when there was none; caller frees the name. */
reid_status reidd_store_head_save(reidd_store *store, const char *name, int64_t generation,
                                  reid_error *err);
reid_status reidd_store_head_load(reidd_store *store, char **ret_name, int64_t *ret_generation,
                                  reid_error *err);

#endif
