/* Between the daemon's own structures and generated messages. */
#ifndef REIDD_API_CONVERT_H
#define REIDD_API_CONVERT_H

#include "base/journal.h"
#include "daemon/api/api.h"
#include "reid/v1/control.pb-c.h"
#include "reid/v1/job.pb-c.h"

/* A message with texts of its own; free with reid__v1__job__free_unpacked(job, NULL). */
Reid__V1__Job *reidd_convert_job(const reidd_job_view *view);
/* Adds the newest metrics; without them when the store cannot be read. */
void reidd_convert_add_latest(reidd_api *api, Reid__V1__Job *job);
/* Adds the configuration; without it when the file is gone. */
/* How each rank of a running job is. */
void reidd_convert_add_ranks(reidd_api *api, Reid__V1__Job *job);
void reidd_convert_add_config(reidd_api *api, Reid__V1__Job *job);

/* With texts of its own; the entry has a line. */
Reid__V1__JournalEntry *reidd_convert_entry(const reid_journal_entry *entry);

/* Takes a received row apart. `ret_scalars` has room for row->n_scalars. INVALID when it breaks a
 * limit. */
reid_status reidd_convert_row(const Reid__V1__MetricRow *row, reidd_scalar *ret_scalars,
                              reidd_row *ret_row, reid_error *err);
/* A reidd_row_decoder. */
reid_status reidd_convert_packed_row(const void *bytes, size_t size, int attempt,
                                     void (*use)(const reidd_row *row, void *user), void *user,
                                     reid_error *err);

/* A copy that is UTF-8 whatever the bytes were; others become '?'. */
char *reidd_convert_text(const char *text);

#endif
