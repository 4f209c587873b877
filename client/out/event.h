/* Events of a job, for people and as JSON. */
#ifndef REIDCTL_OUT_EVENT_H
#define REIDCTL_OUT_EVENT_H

#include "base/str.h"
#include "reid/v1/job.pb-c.h"

/* A line without its end: number, local time, kind, detail, in columns. */
void reidctl_add_event(reid_str *out, const Reid__V1__JobEvent *event);
void reidctl_add_event_head(reid_str *out);
/* {"number", "attempt", "wall_ms", "kind", "detail"}, without a line's end. */
void reidctl_add_event_json(reid_str *out, const Reid__V1__JobEvent *event);

#endif
