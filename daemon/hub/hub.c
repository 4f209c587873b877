#include "daemon/hub/hub.h"

#include <stdio.h>
#include <string.h>

static void count(const reidd_listener *listener, int64_t by)
{
    for (reidd_hub_count *c = listener->count; c; c = c->whole)
        c->value += by;
}

void reidd_hub_add(reidd_hub *hub, reidd_listener *listener, const char *job_id)
{
    snprintf(listener->job_id, sizeof listener->job_id, "%s", job_id);
    listener->hub = hub;
    listener->before = NULL;
    listener->after = hub->first;
    if (hub->first)
        hub->first->before = listener;
    hub->first = listener;
    hub->listeners++;
    count(listener, 1);
}

void reidd_hub_remove(reidd_listener *listener)
{
    reidd_hub *hub = listener->hub;
    if (!hub)
        return;
    if (hub->next == listener)
        hub->next = listener->after;
    if (listener->before)
        listener->before->after = listener->after;
    else
        hub->first = listener->after;
    if (listener->after)
        listener->after->before = listener->before;
    listener->hub = NULL;
    hub->listeners--;
    count(listener, -1);
    listener->before = listener->after = NULL;
}

void reidd_hub_publish(reidd_hub *hub, const char *job_id, unsigned changes)
{
    reidd_listener *listener = hub->first;
    hub->round++;
    while (listener) {
        hub->next = listener->after;
        if (strcmp(listener->job_id, job_id) == 0)
            listener->wake(listener, changes);
        listener = hub->next;
    }
}
