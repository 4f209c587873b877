/* The connection to reidd, and how a failed call becomes an exit status. */
#ifndef REIDCTL_CONNECT_H
#define REIDCTL_CONNECT_H

#include "command.h"
#include "reid/v1/job.pb-c.h"

/* The address when none is given: $REIDD_HOST, else the place where reidd listens by default.
 * Caller frees. */
char *reidctl_default_address(void);

/* Connects once; prints nothing. */
reid_status reidctl_connect(reidctl *ctl, reid_error *err);

/* Prints "reidctl: sentence" to standard error and returns the exit status of the error. */
int reidctl_report(const reid_error *err);

/* One call of JobService: `method` is "Get", "Cancel", … The answer is freed with
 * protobuf_c_message_free_unpacked. */
reid_status reidctl_call(reidctl *ctl, const char *method, const ProtobufCMessage *request,
                         const ProtobufCMessageDescriptor *output, ProtobufCMessage **ret_answer,
                         reid_error *err);
/* The job that a word on the command line means. Free with reid__v1__job__free_unpacked. */
reid_status reidctl_get_job(reidctl *ctl, const char *word, Reid__V1__Job **ret_job,
                            reid_error *err);

/* Set by Ctrl-C; follows look at it between waits of at most REIDCTL_SLICE_MS. */
bool reidctl_interrupted(void);
void reidctl_catch_interrupt(void);
#define REIDCTL_SLICE_MS 200

#endif
