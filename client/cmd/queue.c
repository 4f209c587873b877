/* hold, release, requeue, priority, rm. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "connect.h"
#include "out/style.h"
#include "select.h"

static void print(const Reid__V1__Job *job, const char *instead)
{
    printf("%s %s\n", job->id, instead != NULL ? instead : reidctl_state_name(job->state));
}

static reid_status act(reidctl *ctl, const char *method, const char *word, reid_error *err)
{
    Reid__V1__JobRequest request = REID__V1__JOB_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    request.id = (char *)word;
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

static reid_status hold(reidctl *ctl, const char *word, reid_error *err)
{
    return act(ctl, "Hold", word, err);
}

static reid_status release(reidctl *ctl, const char *word, reid_error *err)
{
    return act(ctl, "Release", word, err);
}

static reid_status requeue(reidctl *ctl, const char *word, reid_error *err)
{
    return act(ctl, "Requeue", word, err);
}

static reid_status forget(reidctl *ctl, const char *word, reid_error *err)
{
    return act(ctl, "Remove", word, err);
}

#define PENDING (1u << REID__V1__JOB_STATE__JOB_STATE_PENDING)

int reidctl_cmd_hold(reidctl *ctl)
{
    return reidctl_act_on_jobs(
        ctl, &(reidctl_verb){.act = hold, .done = "held", .states = PENDING, .free = true});
}

int reidctl_cmd_release(reidctl *ctl)
{
    return reidctl_act_on_jobs(ctl, &(reidctl_verb){.act = release,
                                                    .done = "released",
                                                    .states = PENDING,
                                                    .held = true,
                                                    .oldest_first = true});
}

int reidctl_cmd_requeue(reidctl *ctl)
{
    return reidctl_act_on_jobs(ctl, &(reidctl_verb){.act = requeue});
}

int reidctl_cmd_remove(reidctl *ctl)
{
    return reidctl_act_on_jobs(ctl, &(reidctl_verb){.act = forget,
                                                    .done = "removed",
                                                    .states = REIDCTL_ENDED_STATES,
                                                    .oldest_first = true});
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
