/* The connection to reidd, calls of one answer, and how a failure becomes an exit status. */
#ifndef REIDCTL_CONNECT_H
#define REIDCTL_CONNECT_H

#include "command.h"
#include "reid/v1/control.pb-c.h"
#include "reid/v1/hook.pb-c.h"
#include "reid/v1/job.pb-c.h"
#include "reid/v1/system.pb-c.h"

/* Before the sentence of a control word that ran out of time. */
#define REIDCTL_NOT_AGREED_YET                                                                     \
    "the ranks have not come to the end of a step yet; reidctl audit tells when it is agreed on"

/* Who we are over TCP (--tls-dir, $REIDD_TLS_DIR); NULL when reidd's address is a Unix socket. Free
 * with reid_rpc_tls_free. */
reid_status reidctl_identity(const reidctl *ctl, reid_rpc_tls **ret_tls, reid_error *err);
/* Connects when that has not been done; prints nothing. */
reid_status reidctl_connect(reidctl *ctl, reid_error *err);
/* Ends the connection and its streams. */
void reidctl_disconnect(reidctl *ctl);

/* Whether this reidctl and that daemon understand each other; UNSUPPORTED says which one is too
 * old.
 */
reid_status reidctl_check_protocol(const Reid__V1__InfoResponse *info, reid_error *err);

/* One call of JobService: `method` is "Get", "Cancel", … Free the answer with
 * protobuf_c_message_free_unpacked. */
reid_status reidctl_call(reidctl *ctl, const char *method, const ProtobufCMessage *request,
                         const ProtobufCMessageDescriptor *output, ProtobufCMessage **ret_answer,
                         reid_error *err);
/* The same of another service. What an older or newer daemon does not know is said so. */
reid_status reidctl_call_service(reidctl *ctl, const char *service, const char *method,
                                 const ProtobufCMessage *request,
                                 const ProtobufCMessageDescriptor *output,
                                 ProtobufCMessage **ret_answer, reid_error *err);
/* The job that a word on the command line means. Free with reid__v1__job__free_unpacked. */
reid_status reidctl_get_job(reidctl *ctl, const char *word, Reid__V1__Job **ret_job,
                            reid_error *err);

/* The hooks of a job. Free with reid__v1__list_hooks_response__free_unpacked. */
reid_status reidctl_list_hooks(reidctl *ctl, const char *word,
                               Reid__V1__ListHooksResponse **ret_list, reid_error *err);

/* Prints "reidctl: sentence" to standard error and returns the exit status of the error. */
int reidctl_report(const reid_error *err);
/* The exit status of a job that has ended; one that was not successful is never 0. Says on standard
 * error why a job failed. */
int reidctl_report_end(const Reid__V1__Job *job);

/* Ctrl-C from here on sets a flag instead of ending the program; a second one ends it. */
void reidctl_catch_interrupt(void);
bool reidctl_is_interrupted(void);
/* Whether nobody reads standard output any more, as after `| head -1`. */
bool reidctl_is_reader_gone(void);
/* Whether a follow should end: Ctrl-C, or standard output cannot be written. */
bool reidctl_is_stopped(void);
/* Waits that long, or until a signal comes. */
void reidctl_pause(uint32_t ms);

#endif
