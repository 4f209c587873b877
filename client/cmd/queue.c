/* hold, release, requeue, priority, rm. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "connect.h"
#include "out/style.h"

static void print(const Reid__V1__Job *job, const char *instead)
{
    printf("%s %s\n", job->id, instead != NULL ? instead : reidctl_state_name(job->state));
}

static reid_status act(reidctl *ctl, const char *method, char *word, reid_error *err)
{
    Reid__V1__JobRequest request = REID__V1__JOB_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    request.id = word;
    request.reason = (char *)(ctl->args.reason != NULL ? ctl->args.reason : "");
    REID_TRY(reidctl_call(ctl, method, &request.base, &reid__v1__job__descriptor, &answer, err));
    const Reid__V1__Job *job = (const Reid__V1__Job *)answer;
    bool runs = job->state == REID__V1__JOB_STATE__JOB_STATE_STARTING ||
                job->state == REID__V1__JOB_STATE__JOB_STATE_RUNNING;
    bool removed = strcmp(method, "Remove") == 0;
    print(job, removed     ? "is removed"
               : job->held ? "is held"
               : runs      ? "is being saved and queued again"
                           : NULL);
    protobuf_c_message_free_unpacked(answer, NULL);
    return REID_OK;
}

/* All are tried; the exit status is that of the first failure. */
static int act_on_all(reidctl *ctl, const char *method)
{
    int code = REIDCTL_OK;
    for (int i = 0; i < ctl->word_count; i++) {
        reid_error err = {0};
        if (act(ctl, method, ctl->words[i], &err) == REID_OK)
            continue;
        int this = reidctl_report(&err);
        code = code == REIDCTL_OK ? this : code;
        if (err.code == REID_ERR_UNAVAILABLE)
            break;
    }
    return code;
}

int reidctl_cmd_hold(reidctl *ctl)
{
    return act_on_all(ctl, "Hold");
}

int reidctl_cmd_release(reidctl *ctl)
{
    return act_on_all(ctl, "Release");
}

int reidctl_cmd_requeue(reidctl *ctl)
{
    return act_on_all(ctl, "Requeue");
}

int reidctl_cmd_remove(reidctl *ctl)
{
    return act_on_all(ctl, "Remove");
}

int reidctl_cmd_priority(reidctl *ctl)
{
    Reid__V1__PriorityRequest request = REID__V1__PRIORITY_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    reid_error err = {0};
    int64_t priority = 0;
    if (reid_parse_int64(ctl->words[1], &priority) != REID_OK || priority < -1000 ||
        priority > 1000) {
        reid_fail(&err, REID_ERR_INVALID,
                  "a priority is a whole number from -1000 to 1000, not '%s'", ctl->words[1]);
        reidctl_report(&err);
        return REIDCTL_USAGE;
    }
    request.id = ctl->words[0];
    request.priority = (int32_t)priority;
    request.reason = (char *)(ctl->args.reason != NULL ? ctl->args.reason : "");
    if (reidctl_call(ctl, "SetPriority", &request.base, &reid__v1__job__descriptor, &answer,
                     &err) != REID_OK)
        return reidctl_report(&err);
    const Reid__V1__Job *job = (const Reid__V1__Job *)answer;
    printf("%s priority %d\n", job->id, (int)job->priority);
    protobuf_c_message_free_unpacked(answer, NULL);
    return REIDCTL_OK;
}
