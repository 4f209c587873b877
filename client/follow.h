/* Live progress of one job: a picture redrawn in place on a terminal, plain lines otherwise. */
#ifndef REIDCTL_FOLLOW_H
#define REIDCTL_FOLLOW_H

#include "command.h"

/* Until the job ends (returns its exit status), Ctrl-C (detaches: 130) or a failure. */
int reidctl_follow(reidctl *ctl, const char *word);

#endif
