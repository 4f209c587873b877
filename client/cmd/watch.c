#include "follow.h"

int reidctl_cmd_watch(reidctl *ctl)
{
    return reidctl_follow(ctl, ctl->words[0]);
}
