#include "base/clock.h"
#include "connect.h"
#include "out/style.h"

/* Follows the job until it has ended; its exit code, or that of the failure to follow. */
int reidctl_cmd_wait(reidctl *ctl)
{
    reid_error err = {0};
    reid_rpc_client_stream *stream = NULL;
    Reid__V1__WatchJobRequest request = REID__V1__WATCH_JOB_REQUEST__INIT;
    request.id = ctl->words[0];
    double deadline = reid_clock_seconds() + ctl->args.timeout;
    int code = -1;
    reidctl_catch_interrupt();
    if (reidctl_connect(ctl, &err) != REID_OK ||
        reid_rpc_client_start(ctl->client, "/reid.v1.JobService/Watch", &request.base,
                              &reid__v1__job__descriptor, &stream, &err) != REID_OK)
        return reidctl_report(&err);
    while (code < 0) {
        ProtobufCMessage *message = NULL;
        reid_error_clear(&err);
        reid_status status = reid_rpc_client_next(stream, REIDCTL_SLICE_MS, &message, &err);
        if (status == REID_OK && message != NULL) {
            const Reid__V1__Job *job = (const Reid__V1__Job *)message;
            if (reidctl_state_is_final(job->state))
                code = job->exit_code;
        } else if (status == REID_OK) {
            reid_fail(&err, REID_ERR_INTERNAL, "reidd ended the watch before the job ended");
            code = reidctl_report(&err);
        } else if (status != REID_ERR_TIMEOUT) {
            code = reidctl_report(&err);
        }
        protobuf_c_message_free_unpacked(message, NULL);
        if (code < 0 && reidctl_interrupted())
            code = REIDCTL_INTERRUPTED;
        if (code < 0 && ctl->args.timeout > 0 && reid_clock_seconds() >= deadline) {
            reid_error_clear(&err);
            reid_fail(&err, REID_ERR_TIMEOUT, "the job has not ended within %g s",
                      ctl->args.timeout);
            code = reidctl_report(&err);
        }
    }
    reid_rpc_client_stop(stream);
    return code;
}
