/* The life of reidd: lock, store, jobs, sockets, loop, end. */
#ifndef REIDD_DAEMON_H
#define REIDD_DAEMON_H

#include "base/status.h"
#include "daemon/options.h"

/* Serves until SIGTERM or SIGINT (SIGHUP too, unless it is ignored); then ends within two seconds.
 * Jobs that run are left alone. An error means that it could not begin. */
reid_status reidd_daemon_run(const reidd_options *options, reid_error *err);

#endif
