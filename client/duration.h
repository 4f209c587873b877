/* Times as people write them. */
#ifndef REIDCTL_DURATION_H
#define REIDCTL_DURATION_H

#include "base/status.h"

/* "90" and "90s", "30m", "1.5h", "2d", "1h30m", and "8:00:00" (hours, minutes, seconds). More than
 * 0; INVALID otherwise. */
reid_status reidctl_duration_parse(const char *text, double *ret_seconds, reid_error *err);

#endif
