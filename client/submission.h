/* A configuration on its way to reidd: what submit and fork have in common. */
#ifndef REIDCTL_SUBMISSION_H
#define REIDCTL_SUBMISSION_H

#include "config/config.h"
#include "connect.h"

/* Checks it, says on standard error what has no effect, and makes its paths absolute where the user
 * stands: reidd runs in another folder. */
reid_status reidctl_submission_resolve(reid_config *config, int ranks, reid_error *err);

/* Submits it and prints the job, or with --dry-run prints the configuration; follows with --follow.
 * `request` has all but config_yaml and the restarts. Returns the exit status. */
int reidctl_submission_send(reidctl *ctl, const reid_config *config,
                            Reid__V1__SubmitRequest *request);

#endif
