/* The life of one attempt: launch, watch, stop, leave nothing behind, report. */
#ifndef REIDD_SHIM_SUPERVISE_H
#define REIDD_SHIM_SUPERVISE_H

#include "daemon/shim/options.h"

/* Returns when every process of the attempt is gone and exit.json is written. What goes wrong with
 * the job is in the report; an error means that no report could be made. Blocks SIGCHLD, SIGTERM
 * and SIGINT for the process, which must have one thread. */
reid_status reidd_supervise(const reidd_shim_options *options, reid_error *err);

#endif
