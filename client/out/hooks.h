/* Hooks of a job, for people and as JSON. */
#ifndef REIDCTL_OUT_HOOKS_H
#define REIDCTL_OUT_HOOKS_H

#include <stdbool.h>

#include "base/json.h"
#include "reid/v1/hook.pb-c.h"

/* A table; `width` and `color` as in out/table.h and out/style.h. */
void reidctl_add_hooks(reid_str *out, const Reid__V1__ListHooksResponse *list, bool head,
                       size_t width, bool color);
/* Those that came from outside, a line each: "  3  decay  lua  DISABLED  why". */
void reidctl_add_guests(reid_str *out, const Reid__V1__ListHooksResponse *list, bool color);
/* An array of objects, whose members are those of the protocol; id is null for those of the
 * training itself. */
void reidctl_json_hooks(reid_json_writer *w, const Reid__V1__ListHooksResponse *list);

#endif
