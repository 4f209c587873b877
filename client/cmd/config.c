#include <stdio.h>

#include "connect.h"

int reidctl_cmd_config(reidctl *ctl)
{
    reid_error err = {0};
    Reid__V1__Job *job = NULL;
    if (reidctl_get_job(ctl, ctl->words[0], &job, &err) != REID_OK)
        return reidctl_report(&err);
    fputs(job->config_yaml, stdout);
    reid__v1__job__free_unpacked(job, NULL);
    return REIDCTL_OK;
}
