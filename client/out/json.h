/* Jobs as JSON, for -o json. Names of members are those of the protocol. */
#ifndef REIDCTL_OUT_JSON_H
#define REIDCTL_OUT_JSON_H

#include "base/json.h"
#include "reid/v1/job.pb-c.h"

void reidctl_json_job(reid_json_writer *w, const Reid__V1__Job *job);
/* Metric rows: {"attempt", "seq", "iteration", "epoch", "time", "metrics": {name: value}}. */
void reidctl_json_row(reid_json_writer *w, const Reid__V1__MetricRow *row);

#endif
