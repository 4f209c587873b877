#include <stdio.h>

#include "connect.h"
#include "out/style.h"
#include "select.h"

static reid_status cancel(reidctl *ctl, const char *word, reid_error *err)
{
    Reid__V1__CancelJobRequest request = REID__V1__CANCEL_JOB_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    request.id = (char *)word;
    request.grace_seconds = ctl->args.grace;
    request.reason = (char *)(ctl->args.reason != NULL ? ctl->args.reason : "");
    REID_TRY(reidctl_call(ctl, "Cancel", &request.base, &reid__v1__job__descriptor, &answer, err));
    const Reid__V1__Job *job = (const Reid__V1__Job *)answer;
    printf("%s %s\n", job->id,
           reidctl_state_is_final(job->state) ? reidctl_state_name(job->state)
                                              : "is being cancelled");
    protobuf_c_message_free_unpacked(answer, NULL);
    return REID_OK;
}

int reidctl_cmd_cancel(reidctl *ctl)
{
    return reidctl_act_on_jobs(ctl, &(reidctl_verb){.act = cancel,
                                                    .done = "cancelled",
                                                    .states = REIDCTL_LIVE_STATES,
                                                    .held = true,
                                                    .free = true});
}
