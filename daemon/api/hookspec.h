/* What a request says of a hook, as JSON for rank 0 (engine/guest/guest.h reads it). Here only what
 * the daemon must be sure of is checked, such as sizes; the rest is checked by rank 0. */
#ifndef REIDD_API_HOOKSPEC_H
#define REIDD_API_HOOKSPEC_H

#include "base/status.h"
#include "base/str.h"
#include "reid/v1/hook.pb-c.h"

#define REIDD_HOOKSPEC_BYTES (128u << 10)

/* INVALID with a sentence. The JSON is appended; *ret_name points into the request, or is constant.
 */
reid_status reidd_hookspec_remote(const Reid__V1__RegisterHook *in, reid_str *out,
                                  const char **ret_name, reid_error *err);
reid_status reidd_hookspec_add(const Reid__V1__AddHookRequest *in, reid_str *out,
                               const char **ret_name, reid_error *err);

#endif
