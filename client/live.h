/* A picture that is asked for again and again and drawn in place, until Ctrl-C. What does not go to
 * a terminal, and JSON, is one look. */
#ifndef REIDCTL_LIVE_H
#define REIDCTL_LIVE_H

#include "base/str.h"
#include "command.h"

/* How the picture is looked at: for a terminal of `columns` cells (0: no limit). Appends the
 * picture, or JSON where the command line asks for it. */
typedef reid_status reidctl_look(reidctl *ctl, size_t columns, reid_str *out, reid_error *err);

/* Returns the exit status. A reidd that goes away is looked for as long as --reconnect says. */
int reidctl_live(reidctl *ctl, reidctl_look *look);

reidctl_look reidctl_look_at_gpus; /* cmd/nodes.c */

#endif
