#include <stdio.h>

#include "connect.h"
#include "out/style.h"

static reid_status cancel(reidctl *ctl, char *word, reid_error *err)
{
    Reid__V1__CancelJobRequest request = REID__V1__CANCEL_JOB_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    request.id = word;
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

/* All are tried; the exit status is that of the first failure. */
int reidctl_cmd_cancel(reidctl *ctl)
{
    int code = REIDCTL_OK;
    for (int i = 0; i < ctl->word_count; i++) {
        reid_error err = {0};
        if (cancel(ctl, ctl->words[i], &err) == REID_OK)
            continue;
        int this = reidctl_report(&err);
        code = code == REIDCTL_OK ? this : code;
        if (err.code == REID_ERR_UNAVAILABLE)
            break;
    }
    return code;
}
