/* Jobs and metric rows as JSON, for -o json and jsonl. Names of members are those of the protocol;
 * states and phases are written as `ps` writes them. */
#ifndef REIDCTL_OUT_JSON_H
#define REIDCTL_OUT_JSON_H

#include "base/json.h"
#include "reid/v1/hook.pb-c.h"
#include "reid/v1/job.pb-c.h"

/* A writer with a space after each ',' and ':'. */
reid_json_writer reidctl_json_begin(reid_str *out);

/* {"id": …, "state": "RUNNING", …, "progress": {…}, "failure": {…}, "latest": {name: value}}.
 * "progress" and "failure" are there when the job has them; times are Unix milliseconds, null when
 * they have not come; eta_seconds is null when unknown. */
void reidctl_json_job(reid_json_writer *w, const Reid__V1__Job *job);
/* The same with "hooks": […] at its end (out/hooks.h), unless `hooks` is NULL. */
void reidctl_json_job_with_hooks(reid_json_writer *w, const Reid__V1__Job *job,
                                 const Reid__V1__ListHooksResponse *hooks);

/* {"attempt", "seq", "iteration", "epoch", "wall_ms", "metrics": {name: value}}. */
void reidctl_json_row(reid_json_writer *w, const Reid__V1__MetricRow *row);

#endif
