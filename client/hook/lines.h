/* What a program that is a hook reads on its standard input: lines of JSON.
 *
 *     {"type":"attached","job":"…","hook":3,"iteration":12}
 *     {"type":"event","number":1,"point":"after_step","epoch":0,"iter":12,"max_iter":100,
 *      "max_epoch":10,"lr":0.00035,"scalars":{"total_loss":4.2}}
 *
 * each in one line. Numbers that are not finite are written as NaN, Infinity, -Infinity.
 */
#ifndef REIDCTL_HOOK_LINES_H
#define REIDCTL_HOOK_LINES_H

#include "base/str.h"
#include "reid/v1/hook.pb-c.h"

void reidctl_add_attached_line(reid_str *out, const Reid__V1__HookAttached *attached);
void reidctl_add_event_line(reid_str *out, const Reid__V1__HookEvent *event);

const char *reidctl_point_name(Reid__V1__HookPoint point); /* "after_step", "" when unknown */
/* INVALID, with the nearest name, when there is no such point. */
reid_status reidctl_point_find(const char *name, Reid__V1__HookPoint *ret_point, reid_error *err);

#endif
